"""Images of any kind for predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from proprelu._core import Dataset, Loader
from proprelu.data.arrays import float_tensor, refuse_list_of_pairs, stacked
from proprelu.data.as_dataset import converted
from proprelu.data.batch import image_tensor
from proprelu.data.feeds import eval_feed, nchw
from proprelu.data.normalization import Normalization
from proprelu.data.tensor_data import TensorData
from proprelu.data.torch_batches import TorchBatches
from proprelu.data.vision import held_arrays

__all__ = ["holds_pixels", "images_of"]


def images_of(data: Any, normalization: Normalization | None, batch_size: int) -> Tensor:
    """All images of arrays, a dataset or a loader, as one float tensor (N, C, ...).

    Args:
        data: images, alone or with labels.
        normalization: as in ``eval_feed``.
        batch_size: images that are read at a time.
    """
    refuse_list_of_pairs(data)
    if isinstance(data, tuple) and len(data) == 2 and np.shape(data[0]) != np.shape(data[1]):
        data = data[0]
    if isinstance(data, TorchDataset) and held_arrays(data) is not None:
        data = converted(data)
    if isinstance(data, (Dataset, TensorData, TorchBatches)):
        batches = eval_feed(data, batch_size, normalization).batches
        if isinstance(batches, Loader):
            return torch.cat([nchw(images) for images, _ in batches.epoch(0)])
        return torch.cat([images for images, _ in batches.epoch(0)])
    if isinstance(data, (TorchDataset, DataLoader)):
        loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size)
        images = torch.cat([image_tensor(_first(batch)) for batch in loader])
    elif isinstance(data, Tensor) and data.is_floating_point():
        images = image_tensor(data)
    elif isinstance(data, (np.ndarray, Tensor, list)):
        images = float_tensor(stacked(data))
    else:
        raise TypeError(
            "images must be an array, a tensor, a list of images, a torch Dataset or a DataLoader, "
            f"got {type(data).__name__}"
        )
    return images if normalization is None else normalization(images)


def holds_pixels(data: Any) -> bool:
    """Whether data are uint8 images in memory, without a transform that normalizes them."""
    if isinstance(data, Dataset):
        return data.stated_mean_std is None and data.nbytes == math.prod(data.shape)
    images = data[0] if isinstance(data, tuple) and len(data) == 2 else data
    return str(getattr(images, "dtype", "")) in ("uint8", "torch.uint8")


def _first(batch: Any) -> Any:
    return batch[0] if isinstance(batch, (tuple, list)) and batch else batch
