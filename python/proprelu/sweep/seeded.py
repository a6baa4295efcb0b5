"""Random numbers that depend on a seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from proprelu.graph.mode import untouched_random
from proprelu.graph.torch_globals import TORCH_GLOBALS

__all__ = ["seeded"]

_LARGEST = 2**32


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of torch, NumPy and Python, and restore their states afterwards.

    Other threads wait until it ends.
    """
    with TORCH_GLOBALS, untouched_random():
        torch.manual_seed(seed)
        np.random.seed(seed % _LARGEST)
        random.seed(seed)
        yield
