"""Data in memory that are no images with class numbers: masks, targets, signals, volumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from proprelu.data.seeds import epoch_seed

__all__ = ["TensorBatches", "TensorData"]


class TensorData:
    """Inputs (n, c, ...) in memory, with labels of any kind that a loss takes.

    Args:
        images: float32 (n, c, ...).
        labels: a tensor, or a tuple or dict of tensors, with n entries each.

    Raises:
        ValueError: no images, or another number of labels.
    """

    def __init__(self, images: Tensor, labels: Any) -> None:
        if images.numel() == 0:
            raise ValueError(f"a dataset needs at least one image, got shape {tuple(images.shape)}")
        for leaf in tree_leaves(labels):
            count = leaf.shape[0] if leaf.ndim else 0
            if count != len(images):
                raise ValueError(
                    f"labels must be one for each image: expected {len(images)}, got {count}; "
                    "check that both belong to the same split"
                )
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def mean_std(self) -> tuple[list[float], list[float]]:
        """Mean and (population) standard deviation of each channel; 1 for a constant channel."""
        values = self.images.movedim(1, 0).flatten(1).double()
        std, mean = torch.std_mean(values, 1, correction=0)
        return mean.tolist(), torch.where(std > 0, std, 1.0).tolist()

    def subset(self, indices: Sequence[int]) -> TensorData:
        """The data at ``indices``, in that order."""
        chosen = torch.as_tensor(np.asarray(indices, np.int64))
        return TensorData(self.images[chosen], tree_map(lambda leaf: leaf[chosen], self.labels))

    def __repr__(self) -> str:
        shapes = ", ".join(str(tuple(leaf.shape[1:])) for leaf in tree_leaves(self.labels))
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"TensorData({len(self)} inputs of {shape}, labels {shapes})"


class TensorBatches:
    """Batches of ``TensorData``: images and labels. Each epoch has an order of its own.

    Args:
        data: the data.
        batch_size: images in a batch.
        shuffle: a new order every epoch.
        drop_last: leave out the last batch if it is not full.
        seed: determines the orders.

    Attributes:
        batch_size: as given.
        ordered_by_epoch: whether the order depends on the number of the epoch.
    """

    def __init__(
        self,
        data: TensorData,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        self._data = data
        self.batch_size = batch_size
        self.ordered_by_epoch = shuffle
        self._shuffle = shuffle
        self._seed = seed
        count = len(data)
        self._count = count // batch_size * batch_size if drop_last else count

    def __len__(self) -> int:
        return -(-self._count // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        """The batches of one epoch, counted from 0."""
        order = torch.arange(len(self._data))
        if self._shuffle:
            generator = torch.Generator().manual_seed(epoch_seed(self._seed, epoch))
            order = torch.randperm(len(self._data), generator=generator)
        for chosen in torch.split(order[: self._count], self.batch_size):
            labels = tree_map(lambda leaf, chosen=chosen: leaf[chosen], self._data.labels)
            yield self._data.images[chosen], labels
