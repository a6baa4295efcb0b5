"""The memory of a training step: activations, gradients, momentum and the allocator's slack."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

_SELF = Path("/proc/self")


def peak_memory(device: str) -> ProcessMemory | CudaMemory:
    """Starts to measure."""
    return CudaMemory(device) if device == "cuda" else ProcessMemory()


class ProcessMemory:
    """The growth of the resident memory of this process from here to its peak.

    Started before the first gradient and momentum exist, it contains neither network, batches,
    program nor compiler.
    """

    def __init__(self) -> None:
        _release_free_memory()
        try:
            (_SELF / "clear_refs").write_text("5")
            self._before: int | None = _status("VmRSS")
        except OSError:
            self._before = None

    def megabytes(self) -> dict[str, float]:
        """The peak; empty where the kernel does not report it."""
        if self._before is None:
            return {}
        return {"peak": (_status("VmHWM") - self._before) / 1024}


class CudaMemory:
    """The peak of torch's allocator from here on, in a training under way.

    The peak is what the process reserves: tensors, the pools of CUDA graphs and free blocks.
    "allocated" is tensors alone, without what lives inside a graph, and therefore flatters systems
    that replay one. Both contain a data set on the GPU.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        torch.cuda.synchronize(device)
        # The peak of the set-up: trying algorithms, compiling, the first launches.
        self._before = torch.cuda.max_memory_reserved(device)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)

    def megabytes(self) -> dict[str, float]:
        torch.cuda.synchronize(self._device)
        reserved = torch.cuda.max_memory_reserved(self._device)
        return {
            "peak": reserved / 2**20,
            "allocated": torch.cuda.max_memory_allocated(self._device) / 2**20,
            "peak_with_setup": max(self._before, reserved) / 2**20,
        }


def _status(name: str) -> int:
    """A size of the process in kB."""
    for line in (_SELF / "status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")


def _release_free_memory() -> None:
    """Give free memory back to the kernel, so that using it again counts."""
    gc.collect()
    process = ctypes.CDLL(None)
    for name, arguments in (("MallocExtension_ReleaseFreeMemory", ()), ("malloc_trim", (0,))):
        if hasattr(process, name):
            getattr(process, name)(*arguments)
            return
