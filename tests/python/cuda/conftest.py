"""Devices for the tests of training on a GPU: the CPU in its place, and a GPU if there is one.

On the CPU the sources of the kernels are compiled as C++ and tensors are in host memory.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from proprelu import _core
from proprelu.train.device.device import Cpu, Cuda, Device

SOURCES = Path(__file__).parents[3] / "src" / "kernels" / "cuda"
_COMPILER = ["c++", "-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off"]
_HAS_GPU = torch.cuda.is_available()


class OnHost(Cpu):
    """The CPU with the host-compiled kernels: a training takes it for a GPU."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_core.CudaDevice.on_host(folder, 3))


@pytest.fixture(scope="session")
def host_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a compiled library for each source."""
    folder = tmp_path_factory.mktemp("cuda")
    for source in _core.cuda_sources():
        file = folder / f"{source}.cpp"
        file.write_text('#include "host.h"\n' + _core.cuda_host_text(source))
        command = [*_COMPILER, "-Wl,-Bsymbolic", f"-I{SOURCES}", str(file)]
        subprocess.run([*command, "-o", str(file.with_suffix(".so"))], check=True)
    return folder


@pytest.fixture(params=["host", *(["cuda", "cuda launches"] if _HAS_GPU else [])])
def gpu(request: pytest.FixtureRequest, host_libraries: Path) -> Callable[[], Device]:
    """A function that creates a device; on a GPU with CUDA graphs and without."""
    if request.param == "host":
        return lambda: OnHost(host_libraries)
    return lambda: Cuda(torch.device("cuda"), cuda_graph=request.param == "cuda")


@pytest.fixture
def device(gpu: Callable[[], Device]) -> Device:
    """The device of a training."""
    return gpu()


@pytest.fixture
def host(host_libraries: Path) -> Device:
    """The CPU in place of a GPU, even if there is a GPU."""
    return OnHost(host_libraries)


@pytest.fixture(autouse=True)
def _exact_convolutions() -> Iterator[None]:
    """No TF32 and a fixed order of sums in the convolutions of a GPU."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.deterministic
    cudnn.conv.fp32_precision, cudnn.deterministic = "ieee", True
    yield
    cudnn.conv.fp32_precision, cudnn.deterministic = before
