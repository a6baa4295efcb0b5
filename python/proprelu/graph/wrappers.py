"""Modules of torch that run another module, and which of them are refused."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from proprelu.graph.intercept import plain_class


class _Wrapper(NamedTuple):
    """A class of torch, the name that users know, and the attribute that is the module inside."""

    cls: type[nn.Module]
    name: str
    inside: str


_WRAPPERS = (
    _Wrapper(nn.DataParallel, "DataParallel", "module"),
    _Wrapper(nn.parallel.DistributedDataParallel, "DistributedDataParallel", "module"),
    _Wrapper(torch._dynamo.OptimizedModule, "torch.compile", "_orig_mod"),
)


def wrapped(module: nn.Module) -> nn.Module | None:
    """The module that a wrapper calls, after it has moved its input or compiled."""
    wrapper = _wrapper_of(module)
    return None if wrapper is None else module.get_submodule(wrapper.inside)


def check_model(model: object, verb: str) -> None:
    """Raise an error for what is no model, or for a model that is wrapped or scripted.

    Args:
        model: what was given as a model.
        verb: what is done with it, such as ``"convert"``, for the message.

    Raises:
        TypeError: it is not a module.
        ValueError: it is wrapped or scripted.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch.nn.Module, got {type(model).__name__}; pass the network itself"
        )
    wrapper = _wrapper_of(model)
    if wrapper is not None:
        raise ValueError(
            f"model must not be wrapped, got one in {wrapper.name}; {verb} the model inside "
            f"(model.{wrapper.inside}) first and wrap the result"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"model must be a plain torch.nn.Module, got a ScriptModule; {verb} the model before "
            "torch.jit compiles it"
        )


def check_changeable(model: object, verb: str) -> None:
    """Raise an error for a model that cannot be changed, also for the sake of one of its parts.

    Args:
        model: what was given as a model.
        verb: see ``check_model``.

    Raises:
        TypeError: it is not a module.
        ValueError: it is wrapped or scripted, or ``torch.compile`` runs a part of it, where changes
            and hooks have no effect.
    """
    check_model(model, verb)
    assert isinstance(model, nn.Module)
    for path, part in model.named_modules():
        if isinstance(part, torch._dynamo.OptimizedModule):
            raise ValueError(
                f"model must have no compiled parts, got {path} in torch.compile; {verb} the "
                "model first, and compile it afterwards"
            )


def check_has_values(model: object, verb: str) -> None:
    """Raise an error for a model that cannot be changed, or without the values that are needed.

    Args:
        model: what was given as a model.
        verb: see ``check_model``.

    Raises:
        TypeError: it is not a module.
        ValueError: see ``check_changeable``; or a parameter or buffer has no values.
    """
    check_changeable(model, verb)
    assert isinstance(model, nn.Module)
    for path, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ValueError(
                f"model must have values, got none yet for {path} of a lazy module; run one batch "
                "first, as in model(images)"
            )
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        name = plain_class(model).__name__
        raise ValueError(f"model must have values, got {name} on the meta device; load its weights")


def _wrapper_of(module: nn.Module) -> _Wrapper | None:
    return next((each for each in _WRAPPERS if isinstance(module, each.cls)), None)
