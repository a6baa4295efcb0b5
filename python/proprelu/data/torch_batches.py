"""Batches of any torch ``Dataset`` or ``DataLoader``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data import Dataset as TorchDataset

from proprelu.data.arrays import is_channels_last


class TorchBatches:
    """Batches of images (n, c, h, w), float32, and labels (n,), int64, checked.

    A ``DataLoader`` is iterated as it is. For a ``Dataset`` a loader is created; its order depends
    only on the seed and the epoch. uint8 images are scaled to 0..1 and moved to NCHW. Iterating
    runs the epochs 0, 1, 2, ... in turn; ``epoch`` runs a certain one. The dataset's random
    transforms are not seeded here: they use torch's global generator.

    Args:
        data: a torch ``Dataset`` or ``DataLoader`` of (image, label).
        batch_size: images in a batch; this and the arguments below are ignored for a
            ``DataLoader``.
        shuffle: a new order every epoch.
        drop_last: leave out the last batch if it is not full.
        seed: determines the orders.
        num_classes: labels must be below it; None checks only that they are not negative.

    Raises:
        ValueError: empty data; and while iterating: images of several sizes, labels out of range
            or of the wrong dtype, anything but pairs of images and labels.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> data = TensorDataset(torch.zeros(10, 3, 8, 8), torch.arange(10))
        >>> batches = TorchBatches(data, batch_size=4)
        >>> [tuple(images.shape) for images, labels in batches]
        [(4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 8, 8)]
    """

    def __init__(
        self,
        data: TorchDataset[Any] | DataLoader[Any],
        batch_size: int = 128,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        num_classes: int | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.seed = seed
        self._next_epoch = 0
        # Only a loader created here is seeded; the generator of the user's loader is not touched.
        self._generator: torch.Generator | None = None
        if isinstance(data, DataLoader):
            self.loader = data
            return
        streamed = isinstance(data, IterableDataset)
        if not streamed and len(data) == 0:  # type: ignore[arg-type]
            raise ValueError("a dataset needs at least one image, got none")
        self._generator = torch.Generator()
        self.loader = DataLoader(
            data,
            batch_size,
            shuffle=None if streamed else shuffle,
            drop_last=drop_last,
            generator=self._generator,
        )

    def __len__(self) -> int:
        """Batches in an epoch.

        Raises:
            TypeError: the data have no length.
        """
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        return self.epoch(epoch)

    def epoch(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of one epoch, counted from 0."""
        self._seed_epoch(epoch)
        number = -1
        for number, batch in enumerate(self._raw_batches()):  # noqa: B007
            yield _check(batch, self.num_classes)
        if number < 0:
            raise ValueError("the data gave no batch; is it empty, or smaller than one batch?")

    def _seed_epoch(self, epoch: int) -> None:
        if self._generator is not None:
            # torch's generator uses only 32 bits of its seed: mix both numbers into them.
            mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
            self._generator.manual_seed(int(mixed[0]))
        set_epoch = getattr(self.loader.sampler, "set_epoch", None)
        if set_epoch is not None:  # a DistributedSampler shuffles by the epoch
            set_epoch(epoch)

    def _raw_batches(self) -> Iterator[Any]:
        try:
            yield from self.loader
        except RuntimeError as error:
            if "stack expects each tensor to be equal size" not in str(error):
                raise
            sizes = str(error).rpartition("equal size, but ")[2].splitlines()[0]
            message = f"images must be of one size, {sizes}; resize them in the dataset's transform"
            raise ValueError(message) from error


def _check(batch: Any, num_classes: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise ValueError(f"a batch must be a pair (images, labels), got {_describe(batch)}")
    for name, value in zip(("images", "labels"), batch, strict=True):
        if not isinstance(value, torch.Tensor):
            raise ValueError(
                f"{name} of a batch must be a tensor, got {_describe(value)}; "
                "convert them in the dataset's transform"
            )
    images, labels = _check_images(batch[0]), _check_labels(batch[1], num_classes)
    if len(images) != len(labels):
        raise ValueError(
            f"labels must be one for each image, got {len(labels)} labels and {len(images)} images"
        )
    return images, labels


def _check_images(images: torch.Tensor) -> torch.Tensor:
    is_float = images.is_floating_point()
    if not is_float and images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8 (0 to 255) or float, got {images.dtype}")
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim != 4:
        shape = tuple(images.shape)
        raise ValueError(f"images of a batch must have the shape (n, c, h, w), got {shape}")
    if is_channels_last(images.shape, is_float):
        images = images.permute(0, 3, 1, 2)
    return images.float() if is_float else images.float() / 255


def _check_labels(labels: torch.Tensor, num_classes: int | None) -> torch.Tensor:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, got {labels.dtype}; return them as int")
    if labels.ndim != 1:
        raise ValueError(f"labels must have the shape (n,), got {tuple(labels.shape)}")
    labels = labels.long()
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or (num_classes is not None and high >= num_classes):
        bound = "the number of classes" if num_classes is None else num_classes
        got = low if low < 0 else high
        raise ValueError(f"labels must be in 0..{bound}, got {got}; number the classes from 0")
    return labels


def _describe(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else ""
    return type(value).__name__ + size
