"""A device without a GPU: the kernels' sources compiled as C++, tensors on the CPU."""

import subprocess
from pathlib import Path

import pytest
from proprelu import _core
from proprelu.train.device import Cpu

SOURCES = Path(__file__).parents[3] / "src" / "kernels" / "cuda"
_COMPILER = ["c++", "-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off"]


class OnHost(Cpu):
    """What a training takes for a GPU."""

    def __init__(self, folder: Path) -> None:
        self.kernels = _core.CudaDevice.on_host(folder, 3)


@pytest.fixture(scope="session")
def host_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a library of each source."""
    folder = tmp_path_factory.mktemp("cuda")
    for source in _core.cuda_sources():
        file = folder / f"{source}.cpp"
        file.write_text('#include "host.h"\n' + _core.cuda_host_text(source))
        command = [*_COMPILER, "-Wl,-Bsymbolic", f"-I{SOURCES}", str(file)]
        subprocess.run([*command, "-o", str(file.with_suffix(".so"))], check=True)
    return folder


@pytest.fixture
def gpu(host_libraries: Path) -> OnHost:
    """A training's device."""
    return OnHost(host_libraries)
