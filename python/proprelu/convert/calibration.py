"""Reads calibration batches from tensors, pairs and data loaders."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Batch(NamedTuple):
    """Images, (N, ...), and their labels, (N, ...), if there are any."""

    images: Tensor
    labels: Tensor | None


def batches_of(data: object, model: nn.Module) -> Iterator[Batch]:
    """Read batches, moved to the model's device.

    Args:
        data: a tensor of images, a pair (images, labels), or an iterable of these such as a
            ``DataLoader``. The images are inputs of the model: floats, normalized.
        model: the model; its first parameter determines the device.

    Yields:
        The batches, in the order of ``data``.

    Raises:
        ValueError: ``data`` has another type, or contains no batch.
    """
    first = next((p for p in model.parameters()), torch.empty(0))
    count = 0
    for item in _items(data):
        images, labels = item if isinstance(item, (tuple, list)) else (item, None)
        if not isinstance(images, Tensor) or not images.is_floating_point():
            got = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(
                f"data must hold batches of float images, normalized for the model, got {got}; "
                "pass a tensor, a pair (images, labels) or a DataLoader"
            )
        count += 1
        labels = None if labels is None else torch.as_tensor(labels).to(first.device)
        yield Batch(images.to(first.device), labels)
    if not count:
        raise ValueError("data must hold at least one batch, got none")


def _items(data: object) -> Iterable[object]:
    if isinstance(data, Tensor):
        return [data]
    if isinstance(data, (tuple, list)) and len(data) == 2 and isinstance(data[0], Tensor):
        return [data]
    if isinstance(data, Iterable):
        return data
    raise ValueError(
        f"data must be a tensor, a pair (images, labels) or a DataLoader, got {type(data).__name__}"
    )
