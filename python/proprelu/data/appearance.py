"""Notices images in other units than those that a network was trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from proprelu.warned import warn

__all__ = ["Appearance"]

# Fewer images say little about others.
_IMAGES = 16
# Normalizing twice, or not at all, changes the deviation of usual images by a factor of 3 or more.
_FACTOR = 2.5


@dataclass(frozen=True)
class Appearance:
    """The mean and the deviation of the numbers that a network reads.

    Attributes:
        mean: over images, channels and pixels.
        std: likewise.
    """

    mean: float
    std: float

    @classmethod
    def of(cls, images: Tensor) -> Appearance | None:
        """That of a batch; ``None`` for few images, or images of one color."""
        if len(images) < _IMAGES:
            return None
        std = float(images.std())
        return cls(float(images.mean()), std) if 0 < std < math.inf else None

    def warn_unless_like(self, other: Appearance) -> None:
        """Warn if these images are in other units than those of a training."""
        if 1 / _FACTOR < self.std / other.std < _FACTOR:
            return
        warn(
            f"the network reads images with mean {self.mean:.2g} and deviation {self.std:.2g}, and "
            f"was trained on images with {other.mean:.2g} and {other.std:.2g}: normalize them as "
            "in the training; with normalize=False images are used as they are"
        )
