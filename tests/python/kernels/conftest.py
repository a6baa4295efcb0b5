"""Fixtures for the CUDA kernels of one source, on the CPU, and on a GPU if there is one."""

from collections.abc import Callable, Iterator

import pytest
import torch
from cuda_kernels import Kernels, OnCpu, OnGpu

_BACKENDS = {"cpu": OnCpu, **({"cuda": OnGpu} if torch.cuda.is_available() else {})}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Kernels]:
    """Compiles the kernels of a source for a device, once per session."""
    known: dict[tuple[str, str], Kernels] = {}

    def find(source: str, device: str) -> Kernels:
        if (source, device) not in known:
            backend = _BACKENDS[device](source, tmp_path_factory.mktemp(source))
            known[source, device] = Kernels(source, backend)
        return known[source, device]

    return find


@pytest.fixture(params=list(_BACKENDS))
def kernels(
    request: pytest.FixtureRequest, compiled: Callable[[str, str], Kernels]
) -> Iterator[Kernels]:
    """The kernels of the module's SOURCE; new tensors are created on their device."""
    torch.set_default_device(request.param)
    yield compiled(request.module.SOURCE, request.param)
    torch.set_default_device(None)
