"""Annealing of removed activations during ``fit``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from proprelu.graph import settle, slopes_in


@contextmanager
def annealing(model: nn.Module, steps_per_epoch: int) -> Iterator[None]:
    """Advance the slopes of an annealed model with each training step inside the context.

    The forward itself advances a slope, so that a captured step stays valid. Sites with finished
    annealing become dropped sites afterwards.
    """
    slopes = slopes_in(model)
    for slope in slopes:
        slope.rate.fill_(1 / (slope.epochs * steps_per_epoch))
    try:
        yield
    finally:
        for slope in slopes:
            slope.rate.zero_()
            if slope.done:
                settle(slope.model)
