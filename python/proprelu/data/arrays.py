"""Arrays and tensors in memory, which become a dataset of the core or of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from proprelu._core import Dataset
from proprelu.data.batch import check_finite, dense, image_tensor
from proprelu.data.labels import class_numbers, label_tree, tensors_of
from proprelu.data.layout import is_channels_last
from proprelu.data.tensor_data import TensorData

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

    def dataset(self, num_classes: int | None = None) -> Dataset | TensorData:
        """Images with class numbers become a dataset of the core, anything else ``TensorData``.

        Args:
            num_classes: takes precedence over the attribute.
        """
        images, labels = stacked(self.images), label_tree(self.labels)
        numbers = class_numbers(labels)
        if numbers is None or not _are_pixels(images):
            data = TensorData(float_tensor(images), tensors_of(labels))
            return data if self.indices is None else data.subset(self.indices)
        pixels = _channels_innermost(images)
        classes = self.num_classes if num_classes is None else num_classes
        mean_std = None if self.mean_std is None else _per_channel(self.mean_std, pixels.shape[3])
        create = Dataset.from_u8 if pixels.dtype == np.uint8 else Dataset.from_f32
        whole = create(pixels, numbers, classes, mean_std)
        return whole if self.indices is None else whole.subset(self.indices)


def refuse_list_of_pairs(data: Any) -> None:
    """Refuse a list of ``(image, label)``: of two pairs, it could be a pair ``(images, labels)``.

    Raises:
        TypeError: data is such a list, or a list of batches.
    """
    if not isinstance(data, list) or not data:
        return
    if all(isinstance(item, tuple) and len(item) == 2 for item in data):
        raise TypeError(
            "data must be images with labels, a pair (images, labels), a torch Dataset or a "
            "DataLoader, got a list of pairs; pass DataLoader(data, batch_size) for a list of "
            "(image, label), or DataLoader(data, batch_size=None) for a list of batches"
        )


def stacked(images: Any) -> npt.NDArray[Any] | Tensor:
    """Images as one array or tensor of uint8 or float32.

    Raises:
        ValueError: no images, images of several sizes, a wrong dtype, values that are not finite.
    """
    values = _stack(images)
    if values.ndim < 2 or 0 in values.shape:
        raise ValueError(f"a dataset needs at least one image, got shape {tuple(values.shape)}")
    if isinstance(values, Tensor):
        if values.is_floating_point():
            values = values.float()
        kind = str(values.dtype).removeprefix("torch.")
    else:
        if values.dtype.kind == "f":
            values = values.astype(np.float32, copy=False)
        kind = str(values.dtype)
    if kind not in ("uint8", "float32"):
        raise ValueError(
            f"images must be uint8 (0 to 255) or float, got {kind}; "
            'convert them to float with images.astype("float32"), or images.float() of a tensor'
        )
    check_finite(values.numpy() if isinstance(values, Tensor) else values)
    return values


def float_tensor(images: npt.NDArray[Any] | Tensor) -> Tensor:
    """A copy of the images as float32 (n, c, ...), with uint8 scaled to 0..1."""
    if isinstance(images, Tensor):
        return image_tensor(images).clone()
    if images.ndim in (3, 4):
        images = _channels_innermost(images).transpose(0, 3, 1, 2)
    tensor = torch.tensor(np.ascontiguousarray(images))
    return tensor.float() / 255 if images.dtype == np.uint8 else tensor


def _are_pixels(images: npt.NDArray[Any] | Tensor) -> bool:
    """Whether the core's dataset can hold the images: (n, h, w) or four axes.

    A float tensor with three axes holds signals (n, c, l), as everywhere in torch.
    """
    if images.ndim == 3:
        return not isinstance(images, Tensor) or images.dtype == torch.uint8
    return images.ndim == 4


def _is_channels_last(images: npt.NDArray[Any] | Tensor) -> bool:
    """Whether images with four axes are NHWC: never a float tensor; otherwise by their shape."""
    if isinstance(images, Tensor):
        return images.dtype == torch.uint8 and is_channels_last(images.shape, otherwise=False)
    return is_channels_last(images.shape, otherwise=images.dtype == np.uint8)


def _channels_innermost(images: npt.NDArray[Any] | Tensor) -> npt.NDArray[Any]:
    """Images (n, h, w, c)."""
    array = images.numpy() if isinstance(images, Tensor) else images
    if images.ndim == 3:
        return array[..., None]
    return array if _is_channels_last(images) else array.transpose(0, 2, 3, 1)


def _per_channel(mean_std: MeanStd, channels: int) -> tuple[list[float], list[float]]:
    mean, std = (np.broadcast_to(np.asarray(values, float), (channels,)) for values in mean_std)
    return mean.tolist(), std.tolist()


def _stack(images: Any) -> npt.NDArray[Any] | Tensor:
    if isinstance(images, Tensor):
        return dense(images, "images")
    is_many = isinstance(images, (list, tuple)) or (
        isinstance(images, np.ndarray) and images.dtype.hasobject
    )
    if not is_many:
        return np.asarray(images)
    parts = [image if isinstance(image, Tensor) else np.asarray(image) for image in images]
    for index, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise ValueError(
                f"images must be of one size, got {tuple(parts[0].shape)} at index 0 and "
                f"{tuple(part.shape)} at index {index}; resize them first"
            )
    if not parts:
        return np.empty((0, 0, 0))
    if all(isinstance(part, Tensor) for part in parts):
        return torch.stack([dense(part, "images") for part in parts])
    return np.stack([np.asarray(part) for part in parts])
