"""Choosing a device by name, and moving modules to the CPU and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from proprelu.train.device.device import Cpu, Cuda, Device

__all__ = ["as_device", "home_of", "move", "on_cpu"]


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
    """Put the values of modules on the CPU inside the context.

    Afterwards every tensor has its former memory again; changes of its values are lost.
    """
    before = [(tensor, tensor.data) for module in modules for tensor in _tensors(module)]
    try:
        for tensor, own in before:
            if own.device.type != "cpu":
                tensor.data = own.cpu()
        yield
    finally:
        for tensor, own in before:
            if own.device.type != "cpu":
                tensor.data = own


def move(module: nn.Module, device: torch.device) -> None:
    """Move a module to a device; one that is there is left alone."""
    first = next(_tensors(module), None)
    if first is not None and first.device != device:
        module.to(device)


def home_of(module: nn.Module) -> torch.device:
    """The device of a module's tensors; the CPU if it has none."""
    return next((tensor.device for tensor in _tensors(module)), torch.device("cpu"))


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
