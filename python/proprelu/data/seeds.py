"""The seed of an epoch."""

from __future__ import annotations

import numpy as np


def epoch_seed(seed: int, epoch: int) -> int:
    """Both numbers mixed into 32 bits, because torch's generator uses no more of its seed."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
