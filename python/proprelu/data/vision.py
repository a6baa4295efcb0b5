"""Reads torch datasets that hold arrays at once instead of image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from proprelu.data.arrays import Arrays, MeanStd

# Subclasses are excluded, because they may change an image when it is read.
_HOLD_ARRAYS = {"MNIST", "FashionMNIST", "KMNIST", "EMNIST", "CIFAR10", "CIFAR100"}
_IDENTITY: MeanStd = (0.0, 1.0)


def held_arrays(dataset: TorchDataset[Any] | DataLoader[Any]) -> Arrays | None:
    """The arrays that a torch dataset holds, or None if it may change them as it reads an image.

    Supported are torchvision's datasets that hold arrays, with no transform or with ``ToTensor``
    and optionally ``Normalize`` (in their v2 forms too); a ``TensorDataset`` of images and labels;
    and a ``Subset`` of any of them. The mean and deviation of a transform become those of the
    arrays, so that the network reads the same numbers.
    """
    if type(dataset) is Subset:
        whole = held_arrays(dataset.dataset)
        return None if whole is None else _subset(whole, dataset.indices)
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2:
        images, labels = dataset.tensors
        classified = labels.ndim == 1 and labels.dtype == torch.int64
        held = images.ndim == 4 and images.dtype == torch.float32 and classified
        return Arrays(images, labels, mean_std=_IDENTITY) if held else None
    if _library(dataset) == "torchvision.datasets" and type(dataset).__name__ in _HOLD_ARRAYS:
        return _from_torchvision(dataset)
    return None


def _subset(whole: Arrays, indices: Sequence[Any]) -> Arrays:
    count = len(whole.labels) if whole.indices is None else len(whole.indices)
    chosen = [_from_start(int(index), count) for index in indices]
    if whole.indices is not None:
        chosen = [whole.indices[index] for index in chosen]
    return replace(whole, indices=chosen)


def _from_start(index: int, count: int) -> int:
    """The index counted from 0; negative ones count from the end."""
    if not -count <= index < count:
        raise ValueError(
            f"indices of a Subset must be from {-count} to {count - 1}, the number of images, "
            f"got {index}"
        )
    return index % count


def _from_torchvision(dataset: Any) -> Arrays | None:
    images, labels = np.asarray(dataset.data), np.asarray(dataset.targets)
    if dataset.target_transform is not None or images.dtype != np.uint8 or labels.ndim != 1:
        return None
    mean_std = None
    if dataset.transform is not None:
        mean_std = _normalization(dataset.transform)
        if mean_std is None:
            return None
    # Some splits number their classes from 1.
    num_classes = max(len(dataset.classes), int(labels.max(initial=0)) + 1)
    return Arrays(images, labels, num_classes, mean_std)


def _normalization(transform: Any) -> MeanStd | None:
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
        return _IDENTITY
    if len(rest) == 1 and _name(rest[0]) == "Normalize":
        return rest[0].mean, rest[0].std
    return None


def _scales_to_float(step: Any) -> bool:
    return bool(step.dtype == torch.float32 and step.scale)


def _name(transform: Any) -> str | None:
    """The class name of one of torchvision's own transforms; None for any other."""
    own = _library(transform) == "torchvision.transforms"
    return type(transform).__name__ if own else None


def _library(instance: object) -> str:
    """The first two parts of the module that defines the instance's class."""
    return ".".join(type(instance).__module__.split(".")[:2])
