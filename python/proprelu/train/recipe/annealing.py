"""Annealing of removed activations during ``fit``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from proprelu.graph import SLOPE, Rewritten, Slope, settle


@contextmanager
def annealing(model: nn.Module, steps_per_epoch: int) -> Iterator[None]:
    """Advance the slopes of an annealed model with each training step inside the context.

    The forward itself advances a slope, so that a captured step stays valid. Sites with finished
    annealing become dropped sites afterwards.
    """
    slopes = [module for module in model.modules() if isinstance(module, Slope)]
    for slope in slopes:
        slope.rate.fill_(1 / (slope.epochs * steps_per_epoch))
    try:
        yield
    finally:
        for slope in slopes:
            slope.rate.zero_()
        for module in list(model.modules()):
            own = getattr(module, SLOPE, None)
            if isinstance(module, Rewritten) and isinstance(own, Slope) and own.done:
                settle(module)
