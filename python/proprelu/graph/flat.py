"""Gives each tensor of a module one name, whatever number of names the module has for it."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.graph.encode import CaptureError
from proprelu.graph.mode import untouched

__all__ = ["Flat"]


class Flat(nn.Module):
    """A module without submodules, which calls another one with its own parameters and buffers.

    A tensor with several names, such as a tied weight or a weight of a module that is registered
    twice, is held once, so that a trace has one input and one gradient for it.

    Args:
        module: the module to call. It is not a submodule.
        forgetful: restore the attributes of the module after each call, and hold copies of its
            buffers. A trace calls it several times, and what one call stores, such as a cache, is
            useless in the next one; and a backward may write into buffers while it is traced.
        constants: names of buffers whose replacement by the module has no effect.

    Attributes:
        names: the first name in ``module`` of each parameter and buffer.
    """

    def __init__(
        self, module: nn.Module, *, forgetful: bool = False, constants: Container[str] = ()
    ) -> None:
        super().__init__()
        self._held = (module,)
        self._forgetful = forgetful
        self._constants = constants
        self.names: dict[str, str] = {}
        keys: dict[int, str] = {}
        for index, (name, tensor) in enumerate(
            (*module.named_parameters(), *module.named_buffers())
        ):
            keys[id(tensor)] = key = f"t{index}"
            self.names[key] = name
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(key, tensor)
            else:
                self.register_buffer(key, tensor.detach().clone() if forgetful else tensor)
        self._slots: list[tuple[dict[str, Any], str, str]] = [
            (tensors, name, keys[id(tensor)])
            for part in module.modules()
            for tensors in (part._parameters, part._buffers)
            for name, tensor in tensors.items()
            if tensor is not None
        ]

    def forward(self, *batch: Tensor) -> Any:
        (module,) = self._held
        with untouched(module) if self._forgetful else nullcontext(), self._swapped():
            return module(*batch)

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        """Use the tensors of this module in place of the other's own."""
        before = [tensors[name] for tensors, name, _ in self._slots]
        given = [getattr(self, key) for _, _, key in self._slots]
        for (tensors, name, _), tensor in zip(self._slots, given, strict=True):
            tensors[name] = tensor
        try:
            yield
            for (tensors, name, key), tensor in zip(self._slots, given, strict=True):
                if tensors[name] is not tensor and self.names[key] not in self._constants:
                    _write(name, tensor, tensors[name])
        finally:
            for (tensors, name, _), own in zip(self._slots, before, strict=True):
                tensors[name] = own


def _write(name: str, buffer: Tensor, new: Tensor | None) -> None:
    """Turn the replacement of a buffer, as in ``self.mean = mean``, into a write."""
    if new is None or (new.shape, new.dtype) != (buffer.shape, buffer.dtype):
        got = "None" if new is None else f"{new.dtype} {tuple(new.shape)}"
        raise CaptureError(
            f"its forward replaces {name}, {buffer.dtype} {tuple(buffer.shape)}, by {got}"
        )
    with torch.no_grad():
        buffer.copy_(new)
