"""The modules, and the forwards of torch, that a trace records as one operation.

Only a class of torch is known to hide no activation. A subclass of the user's is looked into; where
its forward calls one of torch's that cannot be traced, such as that of a batch norm, which branches
on the mode, this call is one operation.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves

from proprelu.graph.intercept import plain_class

_TORCH = os.path.dirname(torch.__file__)
_LAYERS = tuple(os.path.join(_TORCH, *parts, "") for parts in (("nn",), ("ao", "nn")))
_PARALLEL = os.path.join(_TORCH, "nn", "parallel", "")
# Classes of this package that stand for one operation have one of these attributes.
_MARKS = ("traced_whole", "dropped_activation")
# Their forwards look at values, or at the mode.
_UNTRACEABLE = (_NormBase, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.RNNBase)


def is_whole(module: nn.Module) -> bool:
    """Whether a module is one operation, since nothing in it is the user's."""
    cls = plain_class(module)
    return not issubclass(cls, nn.Sequential) and all(map(_is_known, cls.__mro__))


def _is_known(cls: type) -> bool:
    """Whether a class adds no code to its bases, or only torch's, or stands for one operation."""
    if cls in (nn.Module, object) or _is_marked(cls):
        return True
    return all(map(_is_torchs, _functions(cls)))


def _is_marked(cls: type) -> bool:
    return any(mark in vars(cls) for mark in _MARKS)


def _functions(cls: type) -> Iterator[FunctionType]:
    for value in vars(cls).values():
        if isinstance(value, property):
            value = value.fget
        function = inspect.unwrap(getattr(value, "__func__", value))
        if isinstance(function, FunctionType):
            yield function


def _is_torchs(function: FunctionType) -> bool:
    file = function.__code__.co_filename
    return file.startswith(_LAYERS) and not file.startswith(_PARALLEL)


def as_one(*args: Any, of: nn.Module, **kwargs: Any) -> Any:
    """Call the forward that a module has from its nearest class that is one operation."""
    return _base_of(type(of)).forward(of, *args, **kwargs)


def _base_of(cls: Any) -> Any:
    return next(c for c in cls.__mro__ if "forward" in vars(c) and _is_known(c))


@contextmanager
def recorded_as_one(model: nn.Module, record: Callable[..., Any]) -> Iterator[None]:
    """Have ``record`` called in place of forwards that are one operation.

    The classes of torch are changed for everybody, so only calls with symbols are recorded.

    Args:
        model: the model that is traced.
        record: gets the module, and the arguments and keyword arguments of its forward.
    """
    modules = set(model.modules())

    def recording(forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            symbolic = any(isinstance(leaf, fx.Proxy) for leaf in tree_leaves((args, kwargs)))
            if symbolic and self in modules:
                return record(self, args, kwargs)
            return forward(self, *args, **kwargs)

        return call

    own = [module for module in modules if not is_whole(module)]
    bases: dict[Any, Callable[..., Any]] = {
        cls: vars(cls)["forward"]
        for module in own
        for cls in plain_class(module).__mro__
        if "forward" in vars(cls) and _is_known(cls) and _is_one(cls)
    }
    for cls, forward in bases.items():
        cls.forward = recording(forward)
    try:
        yield
    finally:
        for cls, forward in bases.items():
            cls.forward = forward


def _is_one(cls: type) -> bool:
    return issubclass(cls, _UNTRACEABLE) or _is_marked(cls)
