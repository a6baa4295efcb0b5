"""Converts arrays and tensors to a dataset of the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from proprelu._core import Dataset

# An axis with at most this many values is taken for the channels.
_MOST_CHANNELS = 4

# One number for all channels, or one for each.
MeanStd = tuple[float | Sequence[float], float | Sequence[float]]


@dataclass(frozen=True)
class Arrays:
    """Images and labels in memory, in any form that ``proprelu.data.as_dataset`` takes.

    Attributes:
        images: the images.
        labels: their labels.
        num_classes: the number of classes; ``None`` for the largest label + 1.
        mean_std: the mean and deviation that images are normalized by; ``None`` for their own.
        indices: the images that the dataset consists of, in order; ``None`` for all.
    """

    images: Any
    labels: Any
    num_classes: int | None = None
    mean_std: MeanStd | None = None
    indices: Sequence[int] | None = None

    def dataset(self, num_classes: int | None = None) -> Dataset:
        """A dataset of the core; ``num_classes`` takes precedence over the attribute."""
        pixels, labels = image_array(self.images), label_array(self.labels)
        classes = self.num_classes if num_classes is None else num_classes
        mean_std = None if self.mean_std is None else _per_channel(self.mean_std, pixels.shape[3])
        create = Dataset.from_u8 if pixels.dtype == np.uint8 else Dataset.from_f32
        whole = create(pixels, labels, classes, mean_std)
        return whole if self.indices is None else whole.subset(self.indices)


def image_array(images: Any) -> npt.NDArray[Any]:
    """Images as uint8 or float32 (n, h, w, c).

    Raises:
        ValueError: no images, images of several sizes, a wrong dtype or number of axes.
    """
    array = _stack(images)
    if array.size == 0:
        raise ValueError(f"a dataset needs at least one image, got shape {array.shape}")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(
            f"images must be uint8 (0 to 255) or float, got {array.dtype}; "
            'convert them with images.astype("uint8")'
        )
    is_float = array.dtype != np.uint8
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim != 4:
        raise ValueError(
            f"images must have the shape (n, h, w), (n, h, w, c) or (n, c, h, w), got {array.shape}"
        )
    elif not is_channels_last(array.shape, is_float):
        array = array.transpose(0, 2, 3, 1)
    return array.astype(np.float32, copy=False) if is_float else array


def is_channels_last(shape: Sequence[int], is_float: bool) -> bool:
    """Whether images of this shape (n, ., ., .) are NHWC rather than NCHW.

    The axis with 4 or fewer values holds the channels. If that is true for both or for neither,
    uint8 is NHWC, the layout of image files, and float is NCHW, the layout of torch's networks.
    """
    first, last = shape[1] <= _MOST_CHANNELS, shape[3] <= _MOST_CHANNELS
    return last if first != last else not is_float


def label_array(labels: Any) -> npt.NDArray[np.int64]:
    """Labels as int64 (n,).

    Raises:
        ValueError: a wrong dtype or number of axes.
    """
    try:
        array = _to_numpy(labels)
    except ValueError as error:
        raise ValueError(f"labels must be integers, one for each image ({error})") from error
    if array.ndim != 1:
        raise ValueError(
            f"labels must have the shape (n,), got {array.shape}; "
            "turn one-hot rows into labels with labels.argmax(1)"
        )
    if array.dtype.kind not in "iu" and array.size > 0:
        raise ValueError(
            f'labels must be integers, got {array.dtype}; convert them with labels.astype("int64")'
        )
    return array.astype(np.int64)


def _per_channel(mean_std: MeanStd, channels: int) -> tuple[list[float], list[float]]:
    mean, std = (np.broadcast_to(np.asarray(values, float), (channels,)) for values in mean_std)
    return mean.tolist(), std.tolist()


def _stack(images: Any) -> npt.NDArray[Any]:
    is_many = isinstance(images, (list, tuple)) or (
        isinstance(images, np.ndarray) and images.dtype.hasobject
    )
    if not is_many:
        return _to_numpy(images)
    arrays = [_to_numpy(image) for image in images]
    for index, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"images must be of one size, got {arrays[0].shape} at index 0 and "
                f"{array.shape} at index {index}; resize them first"
            )
    return np.stack(arrays) if arrays else np.empty((0, 0, 0))


def _to_numpy(values: Any) -> npt.NDArray[Any]:
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    # NumPy has no bfloat16.
    array: npt.NDArray[Any] = (values.float() if values.is_floating_point() else values).numpy()
    return array
