"""The usual feed of a GPU: a DataLoader with workers that augment, and pinned memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from works.steps import Work

from systems.augment import MEAN, STD, augmented_in_worker, draws, scale_and_shift

_PREFETCHED = 2
_MOST_WORKERS = 16
_SHARED = "/dev/shm"
_FLOAT_BYTES = 4


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Returns a whole batch for a list of indices.

    Working on many images at once is faster than image by image, as most loaders do, and makes this
    the best configuration of the peer.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, pad: int) -> None:
        self._pixels = pixels
        self._labels = torch.from_numpy(labels)
        self._pad = pad
        channels = pixels.shape[-1]
        self._scale, self._shift = scale_and_shift([MEAN] * channels, [STD] * channels)

    def __getitem__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        drawn = draws((len(indices),), self._pad, "cpu")
        pixels = self._pixels[indices]
        images = augmented_in_worker(pixels, self._scale, self._shift, self._pad, drawn)
        return images, self._labels[indices]


class Order(Sampler[list[int]]):
    """The indices of `batches` batches, in a new order in each epoch."""

    def __init__(self, images: int, batch: int) -> None:
        self._images = images
        self._batch = batch
        self.batches = 0

    def __iter__(self) -> Iterator[list[int]]:
        left = self.batches
        while left:
            order = torch.randperm(self._images).tolist()
            for start in range(0, self._images - self._batch + 1, self._batch):
                if not left:
                    return
                left -= 1
                yield order[start : start + self._batch]


class Loaded:
    """Batches that workers make, copied to the device.

    Attributes:
        warm: number of batches to take off the clock first, because the workers may have made them
            before it started.
        workers: number of processes.
    """

    def __init__(self, work: Work, pixels: np.ndarray, labels: np.ndarray, device: str) -> None:
        self._device = device
        self.workers = workers(pixels[0].size * work.batch * _FLOAT_BYTES)
        self.warm = _PREFETCHED * self.workers
        self._order = Order(len(pixels), work.batch)
        self._loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            Images(pixels, labels, work.pad),
            sampler=self._order,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=device == "cuda",
            persistent_workers=True,
            prefetch_factor=_PREFETCHED,
        )

    def batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalized images (N, C, H, W) in channels_last and labels, on the device."""
        self._order.batches = count
        for images, labels in self._loader:
            yield (
                images.to(self._device, non_blocking=True).permute(0, 3, 1, 2),
                labels.to(self._device, non_blocking=True),
            )


def workers(batch_bytes: int) -> int:
    """The number of cores, less two for training and pinning, as far as shared memory suffices.

    Raises:
        RuntimeError: it does not hold the batches of one worker.
    """
    cores = len(os.sched_getaffinity(0))
    # Only half of it counts, as batches stay there until they are pinned.
    free = shutil.disk_usage(_SHARED).free // 2
    held = free // (_PREFETCHED * batch_bytes)
    if held < 1:
        raise RuntimeError(f"{_SHARED} has {free / 2**20:.0f} MB for batches, too little")
    return min(max(cores - 2, 1), _MOST_WORKERS, held)
