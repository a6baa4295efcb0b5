"""A feed of images that lie on the device as bytes and are shuffled there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from systems.augment import draws, scale_and_shift

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class Resident:
    """A data set on the device.

    Attributes:
        warm: number of steps to run off the clock first.
    """

    warm = 8

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        batch: int,
        pad: int,
        normalization: tuple[list[float], list[float]],
        device: str,
    ) -> None:
        self._pixels = torch.from_numpy(pixels).to(device)
        self._labels = torch.from_numpy(labels).to(device)
        self._batch = batch
        self._pad = pad
        self._scale, self._shift = (v.to(device) for v in scale_and_shift(*normalization))
        self._device = device

    def __len__(self) -> int:
        """Full batches in an epoch."""
        return len(self._pixels) // self._batch

    def epoch(self) -> Iterator[Batch]:
        """Full batches in a new order: the arguments of `LossOfPixels`."""
        order = torch.randperm(len(self._pixels), device=self._device)
        # Draw for the whole epoch at once, to save launches.
        drawn = draws((len(self), self._batch), self._pad, self._device)
        for number in range(len(self)):
            indices = order[number * self._batch : (number + 1) * self._batch]
            pixels = self._pixels.index_select(0, indices)
            labels = self._labels.index_select(0, indices)
            yield pixels, labels, drawn[number], self._scale, self._shift

    def batches(self, count: int) -> Iterator[Batch]:
        """A number of batches, from as many epochs as that takes."""
        while count:
            for batch in self.epoch():
                yield batch
                count -= 1
                if not count:
                    return
