"""One batch of a torch loader: what it must be, and the form in which a step reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from proprelu.data.layout import is_channels_last

__all__ = ["check_finite", "checked_batch", "dense", "image_tensor", "label_tensor"]

# The label that torch's losses ignore unless another one is set.
_IGNORED = -100


def checked_batch(batch: Any, num_classes: int | None = None) -> tuple[Tensor, Any]:
    """The images and labels of a batch.

    Args:
        batch: a pair of images and labels. Labels are a tensor, or a tuple, list or dict of
            tensors.
        num_classes: integer labels (n,) must be below it, or -100; ``None`` for no such check.

    Returns:
        The images as float32, see ``image_tensor``, and the labels, see ``label_tensor``.

    Raises:
        ValueError: anything else, images that are not finite, or other numbers of both.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise ValueError(
            f"a batch must be a pair (images, labels), got {_describe(batch)}; return such a "
            "pair from the dataset, with several labels in one tuple or dict"
        )
    images = image_tensor(batch[0])
    check_finite(images.numpy())
    leaves, spec = tree_flatten(batch[1])
    labels = [label_tensor(leaf) for leaf in leaves]
    for label in labels:
        # A number for the whole batch, such as the share of a mixture, may be beside other labels.
        if (label.ndim > 0 or len(labels) == 1) and label.shape[:1] != images.shape[:1]:
            count = len(label) if label.ndim else "one number as"
            raise ValueError(
                f"labels must be one for each image, got {count} labels and {len(images)} images"
            )
    if num_classes is not None and len(labels) == 1:
        _check_range(labels[0], num_classes)
    return images, tree_unflatten(labels, spec)


def image_tensor(images: Any) -> Tensor:
    """Images as float32 (n, c, ...).

    Float images keep their shape. uint8 images are scaled to 0..1; (n, h, w) and (n, h, w, c)
    become (n, c, h, w).

    Raises:
        ValueError: not a dense tensor of uint8 or float with at least two axes.
    """
    pixels = dense(images, "images")
    if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
        raise ValueError(
            f"images must be uint8 (0 to 255) or float, got {_name(pixels.dtype)}; "
            "convert them with images.float()"
        )
    if pixels.ndim < 2:
        raise ValueError(
            f"images of a batch must have the shape (n, c, h, w), or (n, c, ...) for other data, "
            f"got {tuple(pixels.shape)}"
        )
    if pixels.is_floating_point():
        return pixels.to(torch.float32)
    if pixels.ndim == 3:
        pixels = pixels.unsqueeze(1)
    elif pixels.ndim == 4 and is_channels_last(pixels.shape, otherwise=False):
        pixels = pixels.permute(0, 3, 1, 2)
    return pixels.to(torch.float32) / 255


def label_tensor(labels: Any) -> Tensor:
    """Labels in the type that losses take: integers as int64, floats as float32, or bool.

    Raises:
        ValueError: not a dense tensor of numbers.
    """
    numbers = dense(labels, "labels")
    if numbers.is_complex():
        raise ValueError(
            f"labels must be integers, floats or bool, got {_name(numbers.dtype)}; "
            "use torch.view_as_real"
        )
    if numbers.dtype == torch.bool:
        return numbers
    return numbers.to(torch.float32 if numbers.is_floating_point() else torch.int64)


def check_finite(images: npt.NDArray[Any]) -> None:
    """Raise ``ValueError`` for images with NaN or infinite values, which no training survives."""
    with np.errstate(invalid="ignore"):
        total = images.sum(dtype=np.float64)
    if not np.isfinite(total):
        wrong = (~np.isfinite(images.reshape(len(images), -1))).any(1).nonzero()[0]
        raise ValueError(
            f"images must be finite, got NaN or infinity in {len(wrong)} of {len(images)} images, "
            f"first at index {wrong[0]}; remove or replace such values"
        )


def _check_range(labels: Tensor, num_classes: int) -> None:
    if labels.ndim != 1 or labels.dtype != torch.int64:
        return
    wrong = labels[((labels < 0) | (labels >= num_classes)) & (labels != _IGNORED)]
    if len(wrong):
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1}, or {_IGNORED} to be ignored, "
            f"got {int(wrong[0])}; number the classes from 0"
        )


def dense(value: Any, what: str) -> Tensor:
    """The tensor itself, detached; arrays are converted.

    Raises:
        ValueError: not a dense tensor with data.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.tensor(np.ascontiguousarray(value))
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{what} of a batch must be a tensor, got {_describe(value)}; "
            "convert them in the dataset's transform"
        )
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        if value.is_meta:
            got, hint = "a meta tensor", "load them first"
        else:
            got, hint = f"layout {_name(value.layout)}", "call to_dense()"
        raise ValueError(f"{what} must be dense tensors with data, got {got}; {hint}")
    tensor: Tensor = value.detach().cpu()
    return tensor


def _name(kind: object) -> str:
    return str(kind).removeprefix("torch.")


def _describe(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else ""
    return type(value).__name__ + size
