"""The forward of a module, as its user wrote it, and in the form that torch.fx wants."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from proprelu.graph.intercept import Patched, plain_class
from proprelu.graph.wrappers import wrapped


def forward_of(module: nn.Module) -> Callable[..., Any]:
    """A module's forward as the user wrote it."""
    patched = module.__dict__.get("forward")
    if wrapped(module) is not None:
        return functools.partial(_call_wrapped, module)
    if isinstance(module, torch.jit.ScriptModule):
        return functools.partial(nn.Module.forward, module)  # never called: it is a leaf
    if isinstance(patched, Patched):
        return patched.forward
    if patched is not None:
        found: Callable[..., Any] = patched
        return found
    return functools.partial(plain_class(module).forward, module)


def _call_wrapped(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    inside: Any = wrapped(module)
    return inside(*args, **kwargs)


def entry_of(forward: Callable[..., Any], given: int, run: Callable[..., Any]) -> Any:
    """A function with one argument for each input, as fx wants it.

    Arguments that may be left out are left out, unless the example has them.
    """
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    passed: list[str] = []
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            more = range(max(given - len(names), 0 if names else 1))
            names += [f"{p.name}_{i}" for i in more]
            passed += [f"{p.name}_{i}" for i in more]
        elif p.kind is p.KEYWORD_ONLY:
            if p.default is p.empty:
                names.append(p.name)
                passed.append(f"{p.name}={p.name}")
        elif p.kind is not p.VAR_KEYWORD and (p.default is p.empty or len(names) < given):
            names.append(p.name)
            passed.append(p.name)
    if not parameters:
        names = passed = ["input"]
    return eval(f"lambda {', '.join(names)}: run({', '.join(passed)})", {"run": run})
