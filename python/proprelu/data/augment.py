"""``Augment``: augmentation and normalization of training images."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from proprelu._core import Dataset
from proprelu.checks import as_real, as_whole


@dataclass(frozen=True)
class Augment:
    """Pad and crop, flip, cut out, normalize: in this order, on uint8 or float images.

    All random draws depend only on the seed, the epoch and the image. Cutout: DeVries and Taylor,
    arXiv 1708.04552.

    Args:
        pad: zero pixels added on each side before a random crop back to the image's size.
        flip: mirror left to right, half of the time.
        cutout: side, in pixels, of a square around a random pixel that is set to the mean; the
            square may extend beyond the image. 0 for none.
        mean: subtracted from each channel, after uint8 images are scaled to 0..1. None: measured
            on the training set.
        std: each channel is divided by it. None: measured on the training set.

    Raises:
        ValueError: a negative size, or an invalid mean or deviation.

    Example:
        >>> Augment(pad=4, flip=True).to_dict()
        {'pad': 4, 'flip': True, 'cutout': 0}
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        for name in ("pad", "cutout"):
            object.__setattr__(self, name, as_whole(name, getattr(self, name), 0))
        object.__setattr__(self, "flip", bool(self.flip))
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, _numbers(name, values))

    def fitted(self, dataset: Dataset) -> Augment:
        """A copy with the mean and deviation of ``dataset`` where they are None."""
        if self.mean is not None and self.std is not None:
            return self
        mean, std = self.fitted_mean_std(dataset)
        return replace(self, mean=mean, std=std)

    def fitted_mean_std(self, dataset: Dataset) -> tuple[Sequence[float], Sequence[float]]:
        """The mean and deviation, with those of ``dataset`` where they are None."""
        if self.mean is not None and self.std is not None:
            return self.mean, self.std
        mean, std = dataset.mean_std()
        if not all(map(math.isfinite, (*mean, *std))):
            raise ValueError(
                "images must be finite to be normalized by their own mean and deviation, got "
                f"mean {mean}; give Augment(mean=..., std=...), or remove what is NaN or infinite"
            )
        return self.mean or mean, self.std or std

    def evaluation(self) -> Augment:
        """The normalization alone, for validation and test images."""
        return Augment(mean=self.mean, std=self.std)

    def to_dict(self) -> dict[str, Any]:
        """The settings that are not None, as the core reads them."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def to_json(self) -> str:
        """The settings that are not None, as JSON."""
        return json.dumps(self.to_dict())


def _numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    try:
        numbers = tuple(number for value in values if (number := as_real(value)) is not None)
        whole = len(numbers) == len(values)
    except TypeError:
        numbers, whole = (), False
    if not (numbers and whole) or (name == "std" and min(numbers) <= 0):
        kind = "positive number" if name == "std" else "number"
        raise ValueError(f"{name} must be one {kind} for each channel, got {values!r}")
    return numbers
