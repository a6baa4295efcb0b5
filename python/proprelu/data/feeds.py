"""Batches for the training loop, with their shape for the capture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proprelu._core import Dataset, Loader
from proprelu.data.as_dataset import as_dataset
from proprelu.data.augment import Augment
from proprelu.data.full_batches import FullBatches
from proprelu.data.torch_batches import TorchBatches

__all__ = [
    "TrainFeed",
    "eval_batches",
    "example_images",
    "normalized",
    "train_feed",
    "validation_batches",
]


@dataclass(frozen=True)
class TrainFeed:
    """What a training reads.

    Attributes:
        batches: batches of one size.
        shape: (N, C, H, W), the shape of the images of a batch.
        num_classes: the number of classes, where the data specify it.
        augment: the augmentation with its measured normalization; ``None`` if the data have
            transforms of their own.
        nbytes: size of images in memory; 0 for images that are loaded one by one.
    """

    batches: Loader | FullBatches
    shape: tuple[int, ...]
    num_classes: int | None
    augment: Augment | None = None
    nbytes: int = 0


def train_feed(
    dataset: Dataset | TorchBatches, batch_size: int, augment: Augment | None, seed: int
) -> TrainFeed:
    """Shuffled, augmented batches of full size.

    Raises:
        ValueError: bad data, or ``augment`` for data with transforms of their own.
    """
    if isinstance(dataset, Dataset):
        return _in_memory(dataset, batch_size, augment, seed)
    if augment is not None:
        raise ValueError(
            "augment works on images in memory; a torch Dataset or DataLoader has its "
            "own transforms: put the augmentation there"
        )
    batches = FullBatches(dataset)
    return TrainFeed(batches, batches.shape, dataset.num_classes)


def _in_memory(dataset: Dataset, batch_size: int, augment: Augment | None, seed: int) -> TrainFeed:
    fitted = (augment or Augment()).fitted(dataset)
    count, height, width, channels = dataset.shape
    size = min(batch_size, count)
    loader = Loader(
        dataset, size, shuffle=True, drop_last=True, seed=seed, augment=fitted.to_dict()
    )
    shape = (size, channels, height, width)
    return TrainFeed(loader, shape, dataset.num_classes, fitted, dataset.nbytes)


def validation_batches(data: Any, feed: TrainFeed) -> Loader | TorchBatches:
    """Validation batches for a training, twice as large as its own and normalized alike.

    Raises:
        ValueError: bad data, or images of another shape than the training images.
    """
    batches = eval_batches(data, 2 * feed.shape[0], feed.augment, feed.num_classes)
    got, expected = tuple(example_images(batches).shape[1:]), feed.shape[1:]
    if got != expected:
        raise ValueError(
            f"validation images must have the shape of the training images, {expected}, "
            f"got {got}; resize them"
        )
    return batches


def eval_batches(
    data: Any, batch_size: int, augment: Augment | None, num_classes: int | None = None
) -> Loader | TorchBatches:
    """Batches in order; the last one may be smaller.

    Args:
        data: images and labels of any kind that ``as_dataset`` takes.
        batch_size: images in a batch.
        augment: that of the training images, for its normalization; ``None`` for the images' own
            mean and deviation.
        num_classes: that of the training data, for arrays, which do not specify it.
    """
    if isinstance(data, (Dataset, TorchBatches)):
        num_classes = None
    dataset = as_dataset(data, num_classes=num_classes, batch_size=batch_size)
    if isinstance(dataset, TorchBatches):
        return dataset
    normalization = (augment or Augment().fitted(dataset)).evaluation()
    return Loader(dataset, batch_size, augment=normalization.to_dict())


def normalized(images: Any, augment: Augment | None) -> Tensor:
    """Images of any kind that ``as_dataset`` takes, as one (N, C, H, W) float tensor."""
    labels = torch.zeros(len(images), dtype=torch.int64)
    return example_images(eval_batches((images, labels), max(len(images), 1), augment))


def example_images(batches: Loader | TorchBatches) -> Tensor:
    """The images of the first batch, (N, C, H, W)."""
    images, _ = next(iter(batches))
    if isinstance(images, Tensor):
        return images
    return torch.as_tensor(images).permute(0, 3, 1, 2)
