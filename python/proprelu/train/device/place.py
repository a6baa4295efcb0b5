"""Choosing a device by name, and moving modules to the CPU and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from proprelu.train.device.device import Cpu, Cuda, Device

__all__ = ["as_device", "home_of", "on_cpu"]


def as_device(
    device: str | torch.device | Device, model: nn.Module, cuda_graph: bool = True
) -> Device:
    """The device by name; ``"auto"`` is the one that holds the model.

    Raises:
        ValueError: the name is not that of a device that can train.
        RuntimeError: a GPU is asked for and cannot be used.
    """
    if isinstance(device, Device):
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
            f"device {str(place)!r} was requested, but torch finds no CUDA device; use "
            'device="cpu", and see `proprelu doctor` for the reason'
        )
    if place.index is not None and place.index >= torch.cuda.device_count():
        raise RuntimeError(
            f"device {str(place)!r} was requested and there are {torch.cuda.device_count()}, "
            'numbered from "cuda:0"'
        )
    return Cuda(place, cuda_graph)


@contextlib.contextmanager
def on_cpu(*modules: nn.Module) -> Iterator[None]:
    """Move modules to the CPU inside the context, and back to their devices afterwards."""
    homes = [(module, home_of(module)) for module in modules]
    try:
        for module, _ in homes:
            module.to("cpu")
        yield
    finally:
        for module, home in homes:
            module.to(home)


def home_of(module: nn.Module) -> torch.device:
    """The device of a module's tensors; the CPU if it has none."""
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
