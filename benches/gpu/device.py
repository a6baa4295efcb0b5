"""The device that a child trains on: what it is, how to wait for it, what memory it gave."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform

import proprelu
import torch
from side_by_side.report import processor

_PACKAGES = ("torchvision", "triton", "numpy")


def chosen(dry: bool) -> torch.device:
    """The GPU, or in a dry run the CPU.

    Raises:
        RuntimeError: there is no GPU.
    """
    if dry:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no GPU here; --dry-run goes through it all on the CPU")
    return torch.device("cuda", torch.cuda.current_device())


def machine(place: torch.device) -> dict[str, dict[str, object]]:
    """Machine and versions, as the results tell them."""
    about: dict[str, object] = {"device": "cpu, a dry run"}
    if place.type == "cuda":
        properties = torch.cuda.get_device_properties(place)
        about = {
            "device": torch.cuda.get_device_name(place),
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gb": round(properties.total_memory / 1e9, 1),
        }
    about |= {"processor": processor(), "cores": os.cpu_count()}
    versions: dict[str, object] = {"python": platform.python_version()}
    versions |= {"proprelu": proprelu.__version__, "torch": torch.__version__}
    versions |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    versions |= {name: _version(name) for name in _PACKAGES}
    return {"machine": about, "versions": versions}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def wait(place: torch.device) -> None:
    """Until all that was launched has run."""
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def free_gb(place: torch.device) -> float | None:
    """Of the whole GPU, whoever has the rest; `None` on the CPU."""
    return torch.cuda.mem_get_info(place)[0] / 1e9 if place.type == "cuda" else None


class PeakMemory:
    """The most that torch's allocator held from where this is made, in a training under way.

    Reserved is what the process keeps others from: tensors, the pools of CUDA graphs, and what the
    allocator has over. Allocated is tensors alone; what lives inside a graph does not count there,
    so that it flatters whoever replays one. Both have the data set, where it lies on the GPU.
    """

    def __init__(self, place: torch.device) -> None:
        self._place = place
        self._before = 0
        if place.type == "cuda":
            wait(place)
            # What setting up needed at most: trying algorithms, compiling, the first launches.
            self._before = torch.cuda.max_memory_reserved(place)
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(place)

    def megabytes(self) -> dict[str, float] | None:
        """By name; `None` on the CPU."""
        if self._place.type != "cuda":
            return None
        wait(self._place)
        reserved = torch.cuda.max_memory_reserved(self._place)
        return {
            "reserved": reserved / 2**20,
            "allocated": torch.cuda.max_memory_allocated(self._place) / 2**20,
            "reserved_with_setup": max(self._before, reserved) / 2**20,
        }
