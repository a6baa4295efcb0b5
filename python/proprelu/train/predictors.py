"""Keeps captured predictors from call to call, as long as their model is the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from proprelu.train.runner import Runner

__all__ = ["Predictors", "signature"]

# A program holds memory for the values between its operations.
_MOST = 4

# How deep the lists and dicts in a module's attributes are compared.
_DEPTH = 4

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


class Predictors:
    """The runners that predicted last, by the shape of their batches."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[Any, Runner]] = OrderedDict()

    def get(self, key: Hashable, wanted: Any) -> Runner | None:
        """The runner for a key, if its model had the same signature."""
        found = self._kept.get(key)
        if found is None or found[0] != wanted:
            return None
        self._kept.move_to_end(key)
        return found[1]

    def keep(self, key: Hashable, described: Any, runner: Runner) -> None:
        """Keep a runner with the signature of its model."""
        self._kept[key] = (described, runner)
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)


def signature(model: nn.Module) -> Any:
    """What a captured prediction depends on, except the values of parameters and buffers.

    Two signatures are equal if no module, hook, forward or attribute was replaced in between.
    """
    return [_of_module(module) for module in model.modules()]


def _of_module(module: nn.Module) -> Any:
    kind = type(module)
    # Predictions are in evaluation mode in any case.
    own = {name: value for name, value in module.__dict__.items() if name != "training"}
    return _Same(module), kind, _Same(kind.forward), _described(own, _DEPTH)


def _described(value: Any, depth: int) -> Any:
    if isinstance(value, nn.Parameter):
        return tuple(value.shape), value.dtype
    if isinstance(value, _PLAIN):
        return value
    if depth > 0 and type(value) in (tuple, list):
        return [_described(item, depth - 1) for item in value]
    if depth > 0 and isinstance(value, dict):
        return [(key, _described(item, depth - 1)) for key, item in value.items()]
    return _Same(value)


@dataclass(eq=False)
class _Same:
    """Equal to another one of the same object, which it keeps alive."""

    value: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]
