"""A forward in plain PyTorch before the capture: it shows the errors of a model as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.graph.mode import kept_modes, untouched
from proprelu.graph.reading import Reading
from proprelu.graph.step import StepModule
from proprelu.train.eager import readable_labels
from proprelu.train.recipe.losses import check_targets

__all__ = ["try_step"]

# Enough for a batch norm.
_IMAGES = 2


def try_step(
    step: StepModule, images: Tensor, labels: Sequence[Tensor], num_classes: int | None = None
) -> Reading:
    """Run model and loss once on the first images, and find which predictions the loss reads.

    The model is run in training mode and left as it was.

    Args:
        step: the model with its loss.
        images: (N, C, H, W), an example.
        labels: its labels.
        num_classes: the classes of the data, where they specify it.

    Raises:
        ValueError: the labels do not fit the loss.
        Exception: what the model or the loss raises.
    """
    few = [label[:_IMAGES] if label.ndim else label for label in labels]
    with torch.no_grad(), _restored(step), readable_labels():
        output = _output(step, images[:_IMAGES])
        reading = step.reading.chosen_by(step.loss, output, few)
        check_targets(step.loss, reading.predictions(output), reading.target(few), num_classes)
        reading.loss(step.loss, output, few)
    return reading


def _output(step: StepModule, images: Tensor) -> Any:
    try:
        return step.output(images)
    except RuntimeError as error:
        if images.ndim != 3:
            raise
        raise ValueError(
            f"{str(error).splitlines()[0]}; the data are read as signals (n, c, l): give gray "
            "images an axis of channels with images[:, None]"
        ) from error


@contextlib.contextmanager
def _restored(step: nn.Module) -> Iterator[None]:
    buffers = [(buffer, buffer.clone()) for buffer in step.buffers()]
    try:
        with untouched(step), kept_modes(step):
            yield
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
