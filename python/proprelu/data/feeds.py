"""Batches for the training loop, with an example of them for the capture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from proprelu._core import Dataset, Loader
from proprelu.data.as_dataset import converted
from proprelu.data.augment import Augment
from proprelu.data.normalization import Normalization
from proprelu.data.stream import FullStream, Stream
from proprelu.data.tensor_data import TensorBatches, TensorData
from proprelu.data.torch_batches import TorchBatches
from proprelu.warned import warn

__all__ = [
    "EvalFeed",
    "TrainFeed",
    "eval_feed",
    "nchw",
    "train_feed",
    "validation_feed",
]

# Arrays whose last batch is not full leave out images; above this share of them there is a warning.
_LEFT_OUT = 0.1


@dataclass(frozen=True)
class TrainFeed:
    """What a training reads.

    Attributes:
        batches: the batches.
        images: (N, C, H, W), an example of the images of a batch.
        labels: the labels of the example: a tensor, or a tuple or dict of tensors.
        num_classes: the number of classes, where the data specify it.
        normalization: what the images are normalized by; ``None`` if the data do that themselves.
        nbytes: size of images in memory; 0 for images that are loaded one by one.
        dataset: what the batches are made of.
    """

    batches: Loader | Stream
    images: Tensor
    labels: Any
    num_classes: int | None = None
    normalization: Normalization | None = None
    nbytes: int = 0
    dataset: Dataset | TensorData | TorchBatches | None = None


@dataclass(frozen=True)
class EvalFeed:
    """What an evaluation reads.

    Attributes:
        batches: batches in order; the last one may be smaller.
        images: an example of the images of a batch.
        labels: its labels.
    """

    batches: Loader | Stream
    images: Tensor
    labels: Any


def train_feed(
    data: Any,
    batch_size: int,
    augment: Augment | None = None,
    seed: int = 0,
    *,
    steps: int | None = None,
    one_shape: bool = False,
) -> TrainFeed:
    """Batches for a training.

    Images in memory are shuffled and used in full batches; each epoch leaves out others. A loader
    decides by its own ``drop_last``.

    Args:
        data: images and labels of any kind that ``as_dataset`` takes.
        batch_size: images in a batch; at most all are used. A ``DataLoader`` keeps its own.
        augment: augmentation of images in memory; normalization only by default.
        seed: determines the orders and the augmentation.
        steps: the batches of an epoch of a loader; by default all.
        one_shape: leave out batches of other shapes than the usual one.

    Raises:
        TypeError: ``augment`` is not an ``Augment``.
        ValueError: augmentation of a torch ``Dataset`` or ``DataLoader``, or of data that are no
            images with class numbers.
    """
    if augment is not None and not isinstance(augment, Augment):
        raise TypeError(
            f"augment must be an Augment, got {type(augment).__name__}; "
            "pass for example proprelu.Augment(pad=4, flip=True)"
        )
    dataset = converted(data, batch_size=batch_size, shuffle=True, drop_last=True, seed=seed)
    if steps is not None and isinstance(dataset, (Dataset, TensorData)):
        raise ValueError(
            "steps_per_epoch is for data that are read batch by batch, got a "
            f"{type(data).__name__}, whose images are in memory; leave it out, pass fewer images, "
            "or put them in a DataLoader"
        )
    if isinstance(dataset, Dataset):
        return _in_memory(dataset, batch_size, augment, seed)
    if augment is not None:
        raise ValueError(
            "augment works on images with integer labels in memory; a torch Dataset or DataLoader "
            "has its own transforms: put the augmentation there"
        )
    normalization = None
    batches: TorchBatches | TensorBatches
    if isinstance(dataset, TensorData):
        size = _full(batch_size, len(dataset))
        batches = TensorBatches(dataset, size, shuffle=True, drop_last=True, seed=seed)
        normalization = Normalization(*dataset.mean_std())
    else:
        batches = dataset
    stream = (FullStream if one_shape else Stream)(batches, normalization, steps)
    num_classes = getattr(dataset, "num_classes", None)
    return TrainFeed(stream, *stream.example, num_classes, normalization, dataset=dataset)


def _in_memory(dataset: Dataset, batch_size: int, augment: Augment | None, seed: int) -> TrainFeed:
    size = _full(batch_size, len(dataset))
    normalization, own = _normalizations(dataset, augment)
    fitted = replace(augment or Augment(), mean=own.mean, std=own.std)
    loader = Loader(
        dataset, size, shuffle=True, drop_last=True, seed=seed, augment=fitted.to_dict()
    )
    images, labels = _first_batch(loader)
    return TrainFeed(
        loader, images, labels, dataset.num_classes, normalization, dataset.nbytes, dataset
    )


def _normalizations(
    dataset: Dataset, augment: Augment | None
) -> tuple[Normalization | None, Normalization]:
    """What a training adds to the transforms of the data, and both together.

    Data that come from torch have their own transform, wherever they are read; for them nothing is
    measured.
    """
    augment = augment or Augment()
    if dataset.stated_mean_std is None:
        measured = Normalization(*augment.fitted_mean_std(dataset))
        return measured, measured
    stated = Normalization(*dataset.stated_mean_std)
    if augment.mean is None and augment.std is None:
        return None, stated
    channels = dataset.shape[3]
    given = Normalization(augment.mean or [0.0] * channels, augment.std or [1.0] * channels)
    return given, given.after(stated.mean, stated.std)


def _full(batch_size: int, count: int) -> int:
    """The images in a full batch; one warning if many images are left out of each epoch."""
    size = min(batch_size, count)
    left = count % size
    if left > _LEFT_OUT * count:
        warn(
            f"each epoch leaves out {left} of {count} images, others each time, because only full "
            f"batches of {size} are used; choose a batch_size that divides {count} better, or pass "
            "a DataLoader without drop_last"
        )
    return size


def validation_feed(data: Any, feed: TrainFeed) -> EvalFeed:
    """Validation batches for a training, twice as large as its own and normalized alike.

    Raises:
        ValueError: bad data, or images of another shape than the training images.
    """
    got = eval_feed(data, 2 * len(feed.images), feed.normalization, feed.num_classes)
    if got.images.shape[1:] != feed.images.shape[1:]:
        raise ValueError(
            "validation images must have the shape of the training images, "
            f"{tuple(feed.images.shape[1:])}, got {tuple(got.images.shape[1:])}; resize them, or "
            "give them the same channels"
        )
    return got


def eval_feed(
    data: Any,
    batch_size: int,
    normalization: Normalization | None,
    num_classes: int | None = None,
) -> EvalFeed:
    """Batches for an evaluation.

    Args:
        data: images and labels of any kind that ``as_dataset`` takes.
        batch_size: images in a batch; a ``DataLoader`` keeps its own.
        normalization: that of the training, which follows the data's own transform; ``None`` to
            use the images as they are.
        num_classes: that of the training data, for arrays, which do not specify it.
    """
    if isinstance(data, (Dataset, TorchBatches, TensorData)):
        num_classes = None
    dataset = converted(data, num_classes=num_classes, batch_size=batch_size)
    if not isinstance(dataset, Dataset):
        batches = (
            TensorBatches(dataset, min(batch_size, len(dataset)))
            if isinstance(dataset, TensorData)
            else dataset
        )
        stream = Stream(batches, normalization)
        return EvalFeed(stream, *stream.example)
    own = dataset.stated_mean_std
    if normalization is not None:
        _, height, width, channels = dataset.shape
        normalization.check_channels((len(dataset), channels, height, width))
        both = normalization if own is None else normalization.after(*own)
        own = (list(both.mean), list(both.std))
    settings = {} if own is None else {"mean": own[0], "std": own[1]}
    loader = Loader(dataset, min(batch_size, len(dataset)), augment=settings)
    return EvalFeed(loader, *_first_batch(loader))


def _first_batch(loader: Loader) -> tuple[Tensor, Tensor]:
    images, labels = next(iter(loader.epoch(0)))
    return nchw(images), torch.from_numpy(labels)


def nchw(images: npt.NDArray[np.float32]) -> Tensor:
    """The images of a batch of the core as a tensor (N, C, H, W)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)
