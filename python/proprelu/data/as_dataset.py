"""``as_dataset``: converts all supported kinds of data to what the training loop reads."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from proprelu._core import Dataset
from proprelu.data.arrays import Arrays
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
) -> Dataset | TorchBatches:
    """Convert images and labels of any usual kind to what the training loop reads.

    These become a ``Dataset``, which is read, augmented and normalized in the core, ahead of time:

    - arrays or tensors with ``labels``, or a pair of both;
    - a list of images of one size with ``labels``;
    - torchvision's MNIST, FashionMNIST, KMNIST, EMNIST, CIFAR10 and CIFAR100 with no transform, or
      with ``ToTensor`` and optionally ``Normalize``, which is kept;
    - a float ``TensorDataset``, and a ``Subset`` of these.

    Any other torch ``Dataset`` or ``DataLoader`` becomes ``TorchBatches``, which passes on the
    batches of the torch loader. A ``Dataset`` or ``TorchBatches`` is returned unchanged.

    Args:
        data: images as uint8 (n, h, w), (n, h, w, c) or (n, c, h, w) in 0..255, or float in any
            units as (n, h, w), (n, c, h, w) or (n, h, w, c). The axis with 4 or fewer values holds
            the channels; if that is true for both axes or for none, uint8 is NHWC and float NCHW.
            Or any other kind in these lists.
        labels: integers (n,) in ``0..num_classes``, if ``data`` has none.
        num_classes: by default the largest label + 1, or that of the dataset.
        batch_size: for a torch ``Dataset``, like the arguments below; see ``TorchBatches``.
        shuffle: a new order every epoch.
        drop_last: leave out the last batch if it is not full.
        seed: determines the orders.

    Raises:
        ValueError: empty data; labels out of range, of the wrong dtype or number; images of several
            sizes, of the wrong dtype or number of axes.
        TypeError: ``data`` is of another kind.

    Example:
        >>> import numpy as np
        >>> from proprelu.data import as_dataset
        >>> as_dataset(np.zeros((6, 32, 32, 3), "uint8"), [0, 1, 2, 0, 1, 2])
        Dataset(6 uint8 images of 32x32x3, 3 classes)
    """
    if isinstance(data, (Dataset, TorchBatches)):
        return _unchanged(data, labels, num_classes)
    arrays = _arrays(data, labels)
    if arrays is not None:
        return arrays.dataset(num_classes)
    if isinstance(data, (DataLoader, TorchDataset)):
        return TorchBatches(
            data,
            batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            num_classes=num_classes,
        )
    raise TypeError(
        "data must be images with labels, a pair (images, labels), a torch Dataset or a "
        f"DataLoader, got {type(data).__name__}"
    )


def _arrays(data: Any, labels: Any) -> Arrays | None:
    if labels is not None:
        return Arrays(data, labels)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return Arrays(*data)
    return held_arrays(data) if isinstance(data, TorchDataset) else None


def _unchanged(
    data: Dataset | TorchBatches, labels: Any, num_classes: int | None
) -> Dataset | TorchBatches:
    if labels is not None:
        raise ValueError("labels must be left out: the data have their own")
    if num_classes not in (None, data.num_classes):
        raise ValueError(
            f"num_classes must be {data.num_classes} as in the data, got {num_classes}"
        )
    return data
