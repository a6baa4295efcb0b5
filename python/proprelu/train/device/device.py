"""The devices that a training runs on: the CPU, or a GPU with a stream of its own."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache

import torch

from proprelu._core import CudaDevice
from proprelu.cache import cuda_folder
from proprelu.train.device.graphs import Graphs

__all__ = ["Cpu", "Cuda", "Device"]


class Device(ABC):
    """A device that a training runs on.

    Attributes:
        device: torch's name for it.
        kernels: launches the core's CUDA kernels; ``None`` on the CPU.
    """

    device: torch.device
    kernels: CudaDevice | None

    @abstractmethod
    def active(self) -> contextlib.AbstractContextManager[None]:
        """A context in which torch's operations run on this device."""

    @abstractmethod
    def graphs(self) -> Graphs | None:
        """What captures the launches of a step into a graph; ``None`` to launch each kernel."""

    @abstractmethod
    def holds(self, size: int) -> bool:
        """Whether this many bytes of data leave enough memory for a training."""

    @abstractmethod
    def free_bytes(self) -> int:
        """The memory that a training may use; 0 if it is not limited here."""

    @property
    @abstractmethod
    def generators(self) -> list[torch.device]:
        """The devices with random generators that a training uses, besides the CPU."""


class Cpu(Device):
    """The CPU. Memory is left to the operating system."""

    def __init__(self, kernels: CudaDevice | None = None) -> None:
        self.device = torch.device("cpu")
        self.kernels = kernels

    def active(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def graphs(self) -> Graphs | None:
        return None

    def holds(self, size: int) -> bool:
        return True

    def free_bytes(self) -> int:
        return 0

    @property
    def generators(self) -> list[torch.device]:
        return []


class Cuda(Device):
    """One GPU, with a stream for all trainings on it.

    Args:
        device: torch's name for it.
        cuda_graph: whether steps are captured into a graph and replayed.

    Raises:
        RuntimeError: there is no such GPU, or it is too old.
    """

    def __init__(self, device: torch.device, cuda_graph: bool = True) -> None:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        index = device.index if device.index is not None else torch.cuda.current_device()
        self.device = torch.device("cuda", index)
        self._cuda_graph = cuda_graph
        self._stream = _stream(index)
        self.kernels = CudaDevice(index, self._stream.cuda_stream, cuda_folder())

    def __reduce__(self) -> tuple[type[Cuda], tuple[torch.device, bool]]:
        return Cuda, (self.device, self._cuda_graph)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Runs on our stream, ordered after the caller's work and before their next."""
        caller = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(caller)
        benchmark = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
                yield
        finally:
            torch.backends.cudnn.benchmark = benchmark
            caller.wait_stream(self._stream)

    def graphs(self) -> Graphs | None:
        return Graphs() if self._cuda_graph else None

    def holds(self, size: int) -> bool:
        """Whether the data take less than half of the free memory."""
        return 2 * size <= self.free_bytes()

    def free_bytes(self) -> int:
        """Free memory plus torch's unused cache."""
        free, _ = torch.cuda.mem_get_info(self.device)
        unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return free + unused

    @property
    def generators(self) -> list[torch.device]:
        return [self.device]


@cache
def _stream(index: int) -> torch.cuda.Stream:
    """The stream of a GPU: a graph can be captured on any but torch's default one.

    All trainings share it, because torch's libraries reserve memory for each stream that they use.
    """
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]
