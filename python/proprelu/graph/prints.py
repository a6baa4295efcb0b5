"""Compares Python values with what they were before, to any depth."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Hashable, Iterator
from enum import Enum
from functools import partial
from operator import length_hint
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Is", "is_plain", "print_of"]

_PLAIN = (type(None), bool, int, str, bytes, torch.dtype, torch.device, torch.Size, Enum)
_WHOLE = (nn.Module, type, ModuleType, FunctionType, BuiltinFunctionType)
# Larger arrays are compared by identity, and deeper values not at all.
_BYTES = 1 << 20
_DEPTH = 8


class Is:
    """An object that is equal to itself only; it keeps the object alive."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Is) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)


def print_of(value: Any, depth: int = 0, inside: frozenset[int] = frozenset()) -> Hashable:
    """What a value is now: it differs later if the value or anything inside it has changed.

    A tensor is the object and the number of changes in place, a module or function the object.
    """
    if isinstance(value, _PLAIN):
        return (type(value), value)
    if isinstance(value, (float, complex)):
        return repr(value)  # which compares NaN with itself
    if isinstance(value, Tensor):
        return (Is(value), 0 if value.is_inference() else value._version)
    if isinstance(value, _WHOLE):
        return Is(value)
    if depth >= _DEPTH or id(value) in inside:
        return Is(type(value))
    inner = [print_of(item, depth + 1, inside | {id(value)}) for item in _inside(value)]
    return (type(value), *inner)


def is_plain(value: Any) -> bool:
    """Whether a value consists of numbers, texts and the like only, in containers or not."""
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple, deque, set, frozenset)):
        return all(map(is_plain, value))
    return isinstance(value, (*_PLAIN, float, complex))


def _inside(value: Any) -> Iterator[Any]:
    """The values that a value consists of."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (key, item)
    elif isinstance(value, (list, tuple, deque)):
        yield from value
    elif isinstance(value, (set, frozenset)):
        yield sorted(map(repr, value))
    elif isinstance(value, np.ndarray):
        yield value.shape
        yield value.tobytes() if value.nbytes <= _BYTES else id(value)
    elif isinstance(value, random.Random):
        yield value.getstate()
    elif isinstance(value, np.random.Generator):
        yield value.bit_generator.state
    elif isinstance(value, np.random.RandomState):
        yield value.get_state(legacy=False)
    elif isinstance(value, torch.Generator):
        yield value.get_state().numpy().tobytes()
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, GeneratorType):
        yield from (value.gi_frame and value.gi_frame.f_lasti, value.gi_running)
    elif hasattr(value, "__next__"):
        yield from (repr(value), length_hint(value, 0))  # such as count(3)
    else:
        yield getattr(value, "__dict__", None)
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            yield from (
                getattr(value, slot, None)
                for slot in ([slots] if isinstance(slots, str) else slots)
            )
