"""Who computes a step: the captured program, or, where there is none, PyTorch itself."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from proprelu._core import CudaDevice, EngineRunner
from proprelu.graph.fallback import call_operation
from proprelu.graph.joint import CaptureError, capture_inference, capture_step
from proprelu.graph.step import InferenceModule, StepModule
from proprelu.train.device.device import home_of
from proprelu.train.device.layout import lay_out, to_channels_last
from proprelu.train.recipe.distill import DistilledStep, Lesson
from proprelu.train.recipe.kernels import Kernels
from proprelu.train.recipe.losses import FusedCrossEntropy, label_smoothing_of


class EagerRunner:
    """Forward and autograd in Python, for a model that cannot be captured."""

    def __init__(self, step: StepModule) -> None:
        self._model = step.model
        self._step = step
        self._inference = InferenceModule(step.model, step.bf16)

    def to(self, device: torch.device) -> None:
        """Move all that a step needs."""
        self._step.to(device)

    def step(
        self, images: Tensor, labels: Tensor
    ) -> tuple[float, Tensor, list[tuple[str, Tensor]]]:
        """The loss, the predictions and the gradients by name of one batch."""
        self._model.train()
        buffers = [(buffer, buffer.clone()) for buffer in self._step.buffers()]
        parameters = {n: p for n, p in self._step.named_parameters() if p.requires_grad}
        with torch.enable_grad():
            loss, predictions = self._loss(images, labels)
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        if not loss.isfinite():
            # A step that went wrong leaves no trace.
            for buffer, before in buffers:
                buffer.copy_(before)
        named = [
            (name.removeprefix("model."), gradient)
            for name, gradient in zip(parameters, gradients, strict=True)
            if gradient is not None
        ]
        return loss.item(), predictions, named

    def predict(self, images: Tensor) -> Tensor:
        """The predictions of a batch in evaluation mode."""
        self._model.eval()
        with torch.no_grad():
            predictions: Tensor = self._inference(images)[0]
        return predictions

    def loss(self, predictions: Tensor, labels: Tensor) -> float:
        """The mean loss of a batch of predictions."""
        with _readable_labels():
            return _loss_value(self._step.loss, predictions, labels)

    def _loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with _readable_labels():
            loss, predictions = self._step(images, labels)
        return loss, predictions


def make_runner(
    model: nn.Module,
    loss: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    *,
    eval_batch_size: int,
    kernels: Kernels,
    bf16: bool,
    num_classes: int | None = None,
    lesson: Lesson | None = None,
    device: CudaDevice | None = None,
) -> EngineRunner | EagerRunner:
    """Capture a model for batches like the examples; fall back to eager with one warning.

    Args:
        model: captured in training mode for the step, in evaluation mode for predictions.
        images: (N, C, H, W), the example; its values do not matter.
        labels: (N,); `None` where only predictions are wanted.
        eval_batch_size: the batch that predictions are captured for.
        kernels: how the core chooses its kernels.
        device: who runs kernels for CUDA; `None` on the CPU. The model is on the CPU in any case.
        num_classes: what the predictions need to have at least, where the loss asks for it.
        lesson: what a step learns from beside the labels.

    Raises:
        ValueError: the model has fewer outputs than the data have classes, or others than its
            teacher.
    """
    images = to_channels_last(images)
    example = to_channels_last(torch.zeros(eval_batch_size, *images.shape[1:]))
    try:
        step = None
        if labels is not None:
            # The trace runs a loss on its example: any label is within zero.
            labels = torch.zeros_like(labels)
            model.train()
            module = _step_module(model, _traced(loss, device), bf16, lesson, images)
            step = capture_step(module, images, labels)
        inference = capture_inference(model.eval(), example, bf16=bf16)
    except CaptureError as error:
        warnings.warn(
            f"{type(model).__name__} cannot be captured as one program, so it trains with "
            f"PyTorch's own forward and backward, slower: {error}",
            stacklevel=4,
        )
        return EagerRunner(_step_module(model, loss, bf16, lesson, images))
    _check_classes(inference.predictions, num_classes)
    smoothing = label_smoothing_of(loss)
    constants = {**(step.constants if step else {}), **inference.constants}
    return EngineRunner(
        step.graph if step else None,
        inference.graph,
        list(constants.items()),
        None if smoothing is not None else lambda p, t: _loss_value(loss, p, t),
        call_operation,
        label_smoothing=smoothing or 0.0,
        conv_algorithm=kernels.conv_algorithm,
        tune=kernels.tunes,
        tune_file=kernels.tune_file,
        low_memory=kernels.saves_memory(on_cpu=device is None),
        device=device,
    )


def _step_module(
    model: nn.Module, loss: nn.Module, bf16: bool, lesson: Lesson | None, images: Tensor
) -> StepModule:
    if lesson is None:
        return StepModule(model, loss, bf16)
    step = DistilledStep(model, loss, bf16, lesson)
    lay_out(step.teacher)
    step.check_outputs(images)
    return step


def _traced(loss: nn.Module, device: CudaDevice | None) -> nn.Module:
    """The loss as the program is to have it."""
    smoothing = label_smoothing_of(loss)
    if device is None or smoothing is None:
        return loss
    return FusedCrossEntropy(smoothing)


@contextlib.contextmanager
def _readable_labels() -> Iterator[None]:
    try:
        yield
    except IndexError as error:
        if not str(error).startswith("Target "):
            raise
        raise ValueError(
            f"labels must be in 0..the outputs of the model: {error} Number the classes from 0, "
            "or build the model with more outputs"
        ) from error


def _loss_value(loss: nn.Module, predictions: Tensor, labels: Tensor) -> float:
    home = home_of(loss)
    with torch.no_grad():
        return float(loss(predictions.to(home), labels.to(home)))


def _check_classes(predictions: tuple[int, ...], num_classes: int | None) -> None:
    outputs = predictions[1] if len(predictions) == 2 else None
    if num_classes is not None and outputs is not None and outputs < num_classes:
        raise ValueError(
            f"the data have {num_classes} classes and the model has {outputs} outputs; "
            f"build it with num_classes={num_classes}"
        )
