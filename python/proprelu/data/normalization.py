"""The normalization that a training applied, which later calls repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from proprelu.data.augment import Augment

__all__ = ["Normalization"]


@dataclass(frozen=True)
class Normalization:
    """A mean that is subtracted from each channel, and a deviation that it is divided by.

    Attributes:
        mean: one number for each channel, for uint8 images scaled to 0..1.
        std: likewise.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, images: Tensor) -> Tensor:
        """Normalized images (n, c, ...)."""
        self.check_channels(images.shape)
        shape = (-1, *[1] * (images.ndim - 2))
        mean, std = (torch.tensor(values).view(shape) for values in (self.mean, self.std))
        return (images - mean) / std

    @classmethod
    def given_by(cls, augment: Augment) -> Normalization:
        """That of an ``Augment``.

        Raises:
            ValueError: it states no mean or no deviation.
        """
        if augment.mean is None or augment.std is None:
            raise ValueError(
                "normalize must be an Augment with mean and std, got "
                f"mean={augment.mean} and std={augment.std}; give both"
            )
        return cls(augment.mean, augment.std)

    def after(self, mean: Sequence[float], std: Sequence[float]) -> Normalization:
        """This normalization of images that are normalized by ``mean`` and ``std`` before."""
        both = list(zip(mean, std, self.mean, self.std, strict=True))
        return Normalization([m + s * own for m, s, own, _ in both], [s * t for _, s, _, t in both])

    def check_channels(self, shape: Sequence[int]) -> None:
        """Raise ``ValueError`` for images (n, c, ...) with other channels than in the training."""
        if len(shape) < 2 or shape[1] != len(self.mean):
            raise ValueError(
                f"images must have {len(self.mean)} channels as in the training, got the shape "
                f"{tuple(shape)}; convert them, and give a single image an axis in front: "
                "images[None]"
            )
