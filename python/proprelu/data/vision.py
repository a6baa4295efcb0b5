"""Reads torch datasets that hold arrays at once instead of image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Subset, TensorDataset

from proprelu._core import Dataset
from proprelu.data.arrays import MeanStd, from_arrays, is_channels_last

# Subclasses are excluded, because they may change an image when it is read.
_HOLD_ARRAYS = {"MNIST", "FashionMNIST", "KMNIST", "EMNIST", "CIFAR10", "CIFAR100"}


def in_memory(dataset: TorchDataset[Any], num_classes: int | None = None) -> Dataset | None:
    """The same images and labels as a dataset of the core, or None if that is not certain.

    Supported are torchvision's datasets that hold arrays, with no transform or with ``ToTensor``
    and optionally ``Normalize`` (in their v2 forms too); a ``TensorDataset`` of images and labels;
    and a ``Subset`` of any of them. The mean and deviation of a transform become those of the
    dataset, so that the network reads the same numbers.
    """
    if type(dataset) is Subset:
        whole = in_memory(dataset.dataset, num_classes)
        if whole is None:
            return None
        return whole.subset([int(index) for index in dataset.indices])
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2:
        images, labels = dataset.tensors
        return _from_tensors(images, labels, num_classes)
    if _library(dataset) == "torchvision.datasets" and type(dataset).__name__ in _HOLD_ARRAYS:
        return _from_torchvision(dataset, num_classes)
    return None


def _from_tensors(
    images: torch.Tensor, labels: torch.Tensor, num_classes: int | None
) -> Dataset | None:
    if images.ndim != 4 or images.dtype != torch.float32:
        return None
    channels = images.shape[3 if is_channels_last(images.shape, is_float=True) else 1]
    return from_arrays(images, labels, num_classes, _identity(channels))


def _from_torchvision(dataset: Any, num_classes: int | None) -> Dataset | None:
    images, labels = np.asarray(dataset.data), np.asarray(dataset.targets)
    if dataset.target_transform is not None or images.dtype != np.uint8 or labels.ndim != 1:
        return None
    mean_std = None
    if dataset.transform is not None:
        mean_std = _normalization(dataset.transform, images.shape[3] if images.ndim == 4 else 1)
        if mean_std is None:
            return None
    if num_classes is None:
        # Some splits number their classes from 1.
        num_classes = max(len(dataset.classes), int(labels.max(initial=0)) + 1)
    return from_arrays(images, labels, num_classes, mean_std)


def _normalization(transform: Any, channels: int) -> MeanStd | None:
    """The mean and deviation of a transform that only normalizes; None for any other."""
    steps = transform.transforms if _name(transform) == "Compose" else [transform]
    names = [_name(step) for step in steps]
    if names[:1] == ["ToTensor"]:
        rest = steps[1:]
    elif names[:2] == ["ToImage", "ToDtype"] and _scales_to_float(steps[1]):
        rest = steps[2:]
    else:
        return None
    if not rest:
        return _identity(channels)
    if len(rest) == 1 and _name(rest[0]) == "Normalize":
        return _spread(rest[0].mean, channels), _spread(rest[0].std, channels)
    return None


def _scales_to_float(step: Any) -> bool:
    return bool(step.dtype == torch.float32 and step.scale)


def _identity(channels: int) -> MeanStd:
    return [0.0] * channels, [1.0] * channels


def _spread(values: Any, channels: int) -> list[float]:
    return [float(value) for value in np.broadcast_to(np.asarray(values, float), (channels,))]


def _name(transform: Any) -> str | None:
    """The class name of one of torchvision's own transforms; None for any other."""
    own = _library(transform) == "torchvision.transforms"
    return type(transform).__name__ if own else None


def _library(instance: object) -> str:
    """The first two parts of the module that defines the instance's class."""
    return ".".join(type(instance).__module__.split(".")[:2])
