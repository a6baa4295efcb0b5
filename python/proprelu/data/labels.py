"""Labels in memory: class numbers for the core's dataset, and anything else that a loss takes."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils._pytree import tree_map

from proprelu.data.batch import label_tensor
from proprelu.warned import warn

__all__ = ["checked_num_classes", "class_numbers", "label_tree", "tensors_of", "warn_of_gap"]


def class_numbers(labels: Any) -> npt.NDArray[np.int64] | None:
    """Integer labels (n,) as int64; ``None`` for any other labels."""
    if not isinstance(labels, np.ndarray):
        return None
    return labels.astype(np.int64) if labels.ndim == 1 and labels.dtype.kind in "iu" else None


def label_tree(labels: Any) -> Any:
    """Labels as an array, or as a tuple or dict of arrays.

    Raises:
        ValueError: ragged lists, strings or other things that are no numbers.
    """
    several = isinstance(labels, dict) or (
        isinstance(labels, tuple) and any(isinstance(item, _ARRAYS) for item in labels)
    )
    return tree_map(_array, labels) if several else _array(labels)


def tensors_of(labels: Any) -> Any:
    """The same tree with tensors."""
    return tree_map(lambda leaf: label_tensor(leaf).clone(), labels)


def checked_num_classes(num_classes: Any) -> int | None:
    """The number as an int.

    Raises:
        ValueError: it is not a whole number of at least 1.
    """
    if num_classes is None:
        return None
    try:
        number = operator.index(num_classes)
    except TypeError:
        number = 0
    if number < 1 or isinstance(num_classes, bool):
        raise ValueError(f"num_classes must be a whole number >= 1, got {num_classes!r}")
    return number


def warn_of_gap(labels: npt.NDArray[np.int64]) -> None:
    """Warn if the largest label is far from all others, such as 255 for what is to be ignored."""
    numbers = np.unique(labels)
    if len(numbers) < 2:
        return
    second, largest = int(numbers[-2]), int(numbers[-1])
    if largest - second > max(10, second + 1):
        warn(
            f"the largest label is {largest} and the one before it {second}, so the data have "
            f"{largest + 1} classes: pass num_classes= if that is right; labels that are to be "
            "ignored are best -100"
        )


_ARRAYS = (np.ndarray, torch.Tensor)


def _array(labels: Any) -> npt.NDArray[Any]:
    if isinstance(labels, torch.Tensor):
        labels = label_tensor(labels).cpu().numpy()
    else:
        try:
            labels = np.asarray(labels)
        except ValueError as error:
            raise ValueError(f"labels must be numbers, one for each image ({error})") from error
    if labels.dtype.hasobject:
        # An object array may hold plain numbers.
        try:
            labels = np.array(labels.tolist())
        except ValueError as error:
            raise ValueError(f"labels must be numbers, one for each image ({error})") from error
    if labels.dtype.kind not in "biuf" and labels.size > 0:
        raise ValueError(
            f"labels must be numbers, got {labels.dtype}; number the classes from 0, for example "
            "with np.unique(labels, return_inverse=True)[1]"
        )
    return np.ascontiguousarray(labels) if labels.size else labels.astype(np.int64)
