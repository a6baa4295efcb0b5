"""Where a training runs: the CPU, or a GPU with a stream of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache

import torch
from torch import nn

from proprelu._core import CudaDevice
from proprelu.cache import cuda_folder
from proprelu.train.device.graphs import Graphs

__all__ = ["Cpu", "Cuda", "as_device", "home_of", "on_cpu"]


class Cpu:
    """The CPU.

    Attributes:
        device: torch's name for it.
        kernels: who runs the core's CUDA kernels; `None` here.
    """

    device = torch.device("cpu")
    kernels: CudaDevice | None = None

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """What torch does inside is done here."""
        yield

    def graphs(self) -> Graphs | None:
        """Who captures launches into a graph."""
        return None

    def holds(self, size: int) -> bool:
        """Whether data of this many bytes leave enough memory for a training."""
        return True

    def free_bytes(self) -> int:
        """What a training may take."""
        return 0

    @property
    def generators(self) -> list[torch.device]:
        """Devices with random numbers of their own."""
        return []


class Cuda(Cpu):
    """A GPU.

    Args:
        device: torch's name for it.
        cuda_graph: whether steps are captured and replayed.

    Raises:
        RuntimeError: there is none, or it is too old.
    """

    def __init__(self, device: torch.device, cuda_graph: bool = True) -> None:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        index = device.index if device.index is not None else torch.cuda.current_device()
        self.device = torch.device("cuda", index)
        self._cuda_graph = cuda_graph
        self._stream = _stream(index)
        self.kernels = CudaDevice(index, self._stream.cuda_stream, cuda_folder())

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """On the stream, which goes on behind what the caller has launched, and he behind it."""
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

    def holds(self, size: int) -> bool:
        """Whether they are less than half of what is free."""
        return 2 * size <= self.free_bytes()

    def free_bytes(self) -> int:
        """What nobody has, and what torch has and does not use."""
        free, _ = torch.cuda.mem_get_info(self.device)
        unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return free + unused

    def graphs(self) -> Graphs | None:
        """A graph for each program, unless the caller wants none."""
        return Graphs() if self._cuda_graph else None

    @property
    def generators(self) -> list[torch.device]:
        """Its own."""
        return [self.device]


def as_device(device: str | torch.device | Cpu, model: nn.Module, cuda_graph: bool = True) -> Cpu:
    """Where to train; `"auto"` is where the model lies.

    Raises:
        ValueError: no name of a device that can train.
        RuntimeError: a GPU is asked for and there is none that can be used.
    """
    if isinstance(device, Cpu):
        return device
    if device == "auto":
        device = next(model.parameters()).device
    try:
        place = torch.device(device) if isinstance(device, (str, torch.device)) else None
    except RuntimeError:
        place = None
    if place is None or place.type not in ("cpu", "cuda"):
        raise ValueError(f'device must be "auto", "cpu" or "cuda", got {device!r}')
    if place.type == "cpu":
        return Cpu()
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"device {str(place)!r} was asked for and no CUDA device is there; use "
            'device="cpu", and see `proprelu doctor` for the reason'
        )
    if place.index is not None and place.index >= torch.cuda.device_count():
        raise RuntimeError(
            f"device {str(place)!r} was asked for and there are {torch.cuda.device_count()}, "
            'numbered from "cuda:0"'
        )
    return Cuda(place, cuda_graph)


@cache
def _stream(index: int) -> torch.cuda.Stream:
    """A graph can be captured on any stream but torch's default one.

    One for all trainings on a GPU: torch's libraries keep memory for each stream that they see.
    """
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def on_cpu(*modules: nn.Module) -> Iterator[None]:
    """The modules' tensors on the CPU inside, and back where they were behind."""
    homes = [(module, home_of(module)) for module in modules]
    try:
        for module, _ in homes:
            module.to("cpu")
        yield
    finally:
        for module, home in homes:
            module.to(home)


def home_of(module: nn.Module) -> torch.device:
    """Where a module's tensors lie; the CPU, if it has none."""
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
