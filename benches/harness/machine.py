"""The machine: its processor, its device, and the versions of what runs on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

_PACKAGES = ("torchvision", "triton", "numpy")


def processor() -> str:
    """The processor's name, as the kernel reports it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def check_device(device: str) -> None:
    """Check that the device, "cpu" or "cuda", is there.

    Raises:
        RuntimeError: there is no GPU.
    """
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError("torch finds no GPU here; --dry-run runs all of it on the CPU")


def wait(device: str) -> None:
    """Wait until all launched kernels have run."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize(device)


def machine(device: str) -> dict[str, dict[str, Any]]:
    """Machine and versions, for a file of results."""
    import proprelu
    import torch

    about: dict[str, Any] = {}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about = {
            "device": torch.cuda.get_device_name(device),
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gb": round(properties.total_memory / 1e9, 1),
        }
    about |= {"processor": processor(), "cores": os.cpu_count()}
    about["level"] = proprelu._core.build_info()["cpu_level"]
    about["threads"] = torch.get_num_threads()
    versions: dict[str, Any] = {"python": platform.python_version()}
    versions |= {"proprelu": proprelu.__version__, "torch": torch.__version__}
    if device == "cuda":
        versions |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        versions |= {name: _version(name) for name in _PACKAGES}
    return {"machine": about, "versions": versions}


def serve(talk: Any, device: str) -> None:
    """The child that describes the machine: see `harness/child.py`."""
    talk.send(**machine(device))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
