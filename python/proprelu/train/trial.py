"""A forward in plain PyTorch: it shows the errors of a model as they are."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from proprelu.graph.mode import untouched
from proprelu.graph.reading import Reading
from proprelu.graph.step import StepModule
from proprelu.graph.surroundings import Surroundings
from proprelu.graph.where import explained
from proprelu.train.eager import readable_labels
from proprelu.train.recipe.losses import check_targets

__all__ = ["try_inference", "try_step"]

# Enough for a batch norm, and for most models.
_IMAGES = 2

# What is raised for a batch of a wrong shape or type; other errors are the model's own.
_OF_SHAPES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)

T = TypeVar("T")


class LossError(ValueError):
    """A loss returns what no training can use."""


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
        ValueError: the labels do not fit the loss, or the model or the loss raises an error.
        TypeError: the model returns no tensor.
    """

    def run(images: Tensor) -> Reading:
        few = [label[: len(images)] if label.ndim else label for label in labels]
        with readable_labels():
            output = _output(step, images)
            step.reading.check(output)
            reading = step.reading.chosen_by(step.loss, output, few)
            check_targets(step.loss, reading.predictions(output), reading.target(few), num_classes)
            _check_loss(reading.loss(step.loss, output, few))
        return reading

    with torch.enable_grad():  # a forward may take gradients itself, or hook tensors
        return _tried(step, run, images)


def _check_loss(loss: Any) -> None:
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
        return
    got = type(loss).__name__
    if isinstance(loss, Tensor):
        shape = f"one of shape {tuple(loss.shape)}"
        got = shape if loss.numel() != 1 else "one that depends on no parameter with a gradient"
    raise LossError(
        f"the loss must return a scalar tensor that depends on the model's parameters, got {got}"
    )


def try_inference(step: StepModule, images: Tensor) -> None:
    """Run the model alone in evaluation mode; see ``try_step``."""

    def run(images: Tensor) -> None:
        step.model.eval()
        step.reading.predictions(_output(step, images))

    with torch.no_grad():
        _tried(step, run, images)


def _tried(step: StepModule, run: Callable[[Tensor], T], images: Tensor) -> T:
    """The result of ``run`` for a few images; for all, if it raises an error for a few."""
    try:
        with _restored(step):
            return run(images[:_IMAGES])
    except Exception:
        try:
            with _restored(step):
                return run(images)
        except LossError:
            raise
        except _OF_SHAPES as error:
            callers = [
                frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)
            ]
            reason = explained(error, step)
            if any(caller is step.loss for caller in callers):
                raise ValueError(
                    f"the loss does not accept the model's output and the labels: {reason}"
                ) from error
            if any(caller is step.model for caller in callers):
                raise ValueError(
                    f"the model does not accept images of shape {tuple(images.shape)}: {reason}"
                ) from error
            raise


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
    # A forward may change its weights too.
    attributes = (value for module in step.modules() for value in module.__dict__.values())
    held = {id(t): t for t in attributes if isinstance(t, Tensor) and t.grad_fn is None}
    tensors = [
        (tensor, tensor.detach().clone())
        for tensor in (*step.parameters(), *step.buffers(), *held.values())
    ]
    try:
        with torch.random.fork_rng(devices=[]), Surroundings(step).restored(), untouched(step):
            yield
    finally:
        for tensor, before in tensors:
            tensor.detach().copy_(before)
