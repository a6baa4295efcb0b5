"""The calls of activations in a trace."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from proprelu.graph.scopes import Chain

# Calls inside these files of torch run at other times than the forward around them as well.
_BARRIERS = {
    torch.autograd.function.__file__: "inside a torch.autograd.Function, whose backward is fixed",
    torch.utils.checkpoint.__file__: "recomputed by a checkpoint inside this forward",
}
FUNCTION, CHECKPOINT = _BARRIERS.values()


@dataclass(eq=False)
class Run:
    """One call of a module's forward.

    Attributes:
        path: the module's path.
        parent: the call that it was made in; None for the whole model.
        number: how often the parent has called the module before.
    """

    path: str
    parent: Run | None = None
    number: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def chain(self) -> Chain:
        """The calls that lead here, from the whole model on."""
        before = () if self.parent is None else self.parent.chain
        return (*before, (self.path, self.number))

    def within(self, paths: set[str]) -> bool:
        """Whether this call, or one that it was made in, is one of a module in ``paths``."""
        return any(path in paths for path, _ in self.chain)


@dataclass(eq=False)
class Event:
    """One call of an activation.

    Attributes:
        run: the call in whose forward it is made.
        family: see ``activations.family_of``.
        node: its node; None if it does not depend on any input.
        leaf: the path of the activation module; None for functions and methods.
        barrier: why the call cannot be counted, else None.
    """

    run: Run
    family: str
    node: fx.Node | None
    leaf: str | None = None
    barrier: str | None = None


def barrier_at(innermost: Callable[..., Any]) -> str | None:
    """Why a call that is being traced cannot be counted in the forward around it.

    Args:
        innermost: the function that runs a forward; what is outside of it does not matter.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not innermost.__code__:
        if frame.f_code.co_filename in _BARRIERS:
            return _BARRIERS[frame.f_code.co_filename]
        frame = frame.f_back  # type: ignore[assignment]
    return None
