"""A `fit` that leads an annealed model to its ratio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from proprelu.graph import SLOPE, Rewritten, Slope, settle


@contextmanager
def annealing(model: nn.Module, steps_per_epoch: int) -> Iterator[None]:
    """Let each training step inside lead the model on by its share of the way.

    The slope moves in the forward, so that a captured step stays good. Where the way has ended,
    the sites become plain dropped ones afterwards.
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
