"""``as_dataset``: converts all supported kinds of data to what the training loop reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from proprelu._core import Dataset
from proprelu.data.arrays import Arrays, refuse_list_of_pairs
from proprelu.data.labels import checked_num_classes, warn_of_gap
from proprelu.data.tensor_data import TensorData
from proprelu.data.torch_batches import TorchBatches
from proprelu.data.vision import held_arrays


def as_dataset(
    data: Any,
    labels: Any = None,
    num_classes: int | None = None,
    *,
    batch_size: int = 128,
    shuffle: bool = False,
    drop_last: bool = False,
    seed: int = 0,
) -> Dataset | TensorData | TorchBatches:
    """Convert images and labels of any usual kind to what the training loop reads.

    These become a ``Dataset``, which is read, augmented and normalized in the core, ahead of time,
    if the labels are integers (n,):

    - arrays or tensors with ``labels``, or a pair of both;
    - a list of images of one size with ``labels``;
    - torchvision's MNIST, FashionMNIST, KMNIST, EMNIST, CIFAR10 and CIFAR100 with no transform, or
      with ``ToTensor`` and optionally ``Normalize``, which is kept;
    - a float ``TensorDataset``, and a ``Subset`` of these.

    Arrays with other labels (masks, targets, several labels) and inputs that are no images become
    ``TensorData``. Any other torch ``Dataset`` or ``DataLoader`` becomes ``TorchBatches``, which
    passes on the batches of the torch loader. A ``Dataset``, ``TensorData`` or ``TorchBatches`` is
    returned unchanged.

    Args:
        data: images as uint8 in 0..255 or float in any units. Float tensors of torch are
            (n, c, ...), also narrow ones. Arrays of NumPy and uint8 tensors are (n, h, w),
            (n, h, w, c) or (n, c, h, w): the axis with 4 or fewer values holds the channels; if
            that is true for both axes or for none, uint8 arrays are NHWC, all others NCHW. Or any
            other kind in these lists.
        labels: integers (n,), where -100 is ignored by the loss; or any other numbers that a loss
            takes, (n, ...), or a tuple or dict of such; if ``data`` has none.
        num_classes: by default the largest label + 1, or that of the dataset.
        batch_size: for a torch ``Dataset``, like the arguments below; see ``TorchBatches``.
        shuffle: a new order every epoch.
        drop_last: leave out the last batch if it is not full.
        seed: determines the orders.

    Raises:
        ValueError: empty data; labels out of range, of the wrong dtype or number; images of several
            sizes, of the wrong dtype or number of axes, or not finite.
        TypeError: ``data`` is of another kind.

    Example:
        >>> import numpy as np
        >>> from proprelu.data import as_dataset
        >>> as_dataset(np.zeros((6, 32, 32, 3), "uint8"), [0, 1, 2, 0, 1, 2])
        Dataset(6 uint8 images of 32x32x3, 3 classes)
    """
    num_classes = checked_num_classes(num_classes)
    dataset = converted(
        data,
        labels,
        num_classes,
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=drop_last,
        seed=seed,
    )
    if num_classes is None and dataset is not data and isinstance(dataset, Dataset):
        warn_of_gap(dataset.labels())
    return dataset


def converted(
    data: Any,
    labels: Any = None,
    num_classes: int | None = None,
    *,
    batch_size: int = 128,
    shuffle: bool = False,
    drop_last: bool = False,
    seed: int = 0,
) -> Dataset | TensorData | TorchBatches:
    """``as_dataset`` for a model, whose outputs decide how many classes there are."""
    if isinstance(data, (Dataset, TensorData, TorchBatches)):
        return _unchanged(data, labels, num_classes)
    if isinstance(data, (DataLoader, TorchDataset)):
        _check_no_labels(data, labels)
        arrays = held_arrays(data)
        if arrays is not None:
            return arrays.dataset(num_classes)
        return TorchBatches(
            data,
            batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            num_classes=num_classes,
        )
    return _arrays(data, labels).dataset(num_classes)


def _arrays(data: Any, labels: Any) -> Arrays:
    if labels is not None:
        return Arrays(data, labels)
    refuse_list_of_pairs(data)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return Arrays(*data)
    hint = ""
    if isinstance(data, Iterator):
        hint = "; it can be read only once: wrap what makes it in a torch IterableDataset"
    elif isinstance(data, (np.ndarray, torch.Tensor)):
        hint = " without labels"
    raise TypeError(
        "data must be images with labels, a pair (images, labels), a torch Dataset or a "
        f"DataLoader, got {type(data).__name__}{hint}"
    )


def _unchanged(
    data: Dataset | TensorData | TorchBatches, labels: Any, num_classes: int | None
) -> Dataset | TensorData | TorchBatches:
    _check_no_labels(data, labels)
    own = getattr(data, "num_classes", None)
    if num_classes not in (None, own):
        raise ValueError(f"num_classes must be {own} as in the data, got {num_classes}")
    return data


def _check_no_labels(data: Any, labels: Any) -> None:
    if labels is not None:
        raise ValueError(f"labels must be left out: the {type(data).__name__} has its own")
