"""Selects what computes a step: the captured program, or PyTorch where capturing fails."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from proprelu._core import CudaDevice, EngineRunner
from proprelu.graph.fallback import call_operation
from proprelu.graph.joint import Capture, CaptureError, capture_inference, capture_step
from proprelu.graph.mode import kept_modes
from proprelu.graph.prints import print_of
from proprelu.graph.reading import Reading
from proprelu.graph.step import StepModule
from proprelu.train.captures import Captures
from proprelu.train.device.layout import lay_out, to_channels_last
from proprelu.train.draws import Draws
from proprelu.train.eager import EagerRunner, OutputLoss
from proprelu.train.recipe.distill import DistilledStep, Lesson
from proprelu.train.recipe.kernels import Kernels, tune_file
from proprelu.train.recipe.losses import FusedCrossEntropy, label_smoothing_of, left_out
from proprelu.train.trial import try_inference
from proprelu.warned import warn

__all__ = ["Runner", "make_runner", "step_bytes"]

Runner = EngineRunner | EagerRunner


def make_runner(
    model: nn.Module,
    loss: nn.Module,
    images: Tensor,
    labels: Sequence[Tensor],
    reading: Reading,
    *,
    training: bool,
    kernels: Kernels,
    bf16: bool,
    lesson: Lesson | None = None,
    device: CudaDevice | None = None,
    draws: Draws | None = None,
    captures: Captures | None = None,
) -> Runner:
    """Capture a model for batches of one shape; fall back to eager with one warning.

    Args:
        model: captured as it is for the step, and in evaluation mode for predictions. It is on the
            CPU in any case.
        loss: called with the model's output and the labels.
        images: (N, C, H, W), an example.
        labels: an example of the labels; none if only predictions are wanted.
        reading: how predictions and loss are read from the output and the labels.
        training: whether to capture a step as well; predictions are then captured for batches of
            twice the size, if the model takes them. Otherwise only predictions are captured.
        kernels: how the core chooses its kernels.
        bf16: run the model under bfloat16 autocast.
        lesson: the teacher that a step learns from besides the labels.
        device: launches kernels for CUDA; ``None`` on the CPU.
        draws: the generator of random operations; ``None`` for the caller's.
        captures: graphs that are shared with other trainers.

    Raises:
        ValueError: the model has other outputs than its teacher.
    """
    # The values do not matter: labels of 0 are in range for any model.
    images, labels = to_channels_last(images), [torch.zeros_like(label) for label in labels]
    smoothing = label_smoothing_of(loss)
    eager = _step_module(model, loss, bf16, lesson, reading, images)
    if training and torch.is_anomaly_enabled():
        warn(
            f"{type(model).__name__} trains with PyTorch's own forward and backward, which is "
            "slower, because torch.autograd.detect_anomaly() is active"
        )
        return EagerRunner(eager, draws)
    captures = captures or Captures(0)
    options = (bf16, print_of(reading))
    try:
        step = None
        if training:
            fused = _traced(loss, device)
            same = fused is loss
            traced = eager if same else _step_module(model, fused, bf16, lesson, reading, images)
            make = partial(capture_step, traced, images, *labels)
            step = captures.get(traced, options, (images, *labels), make)
        whole = reading.whole and bool(labels)
        inference = _inference(model, images, captures, bf16, reading, whole, twice=training)
    except CaptureError as error:
        if error.__cause__ is not None and not training:
            try_inference(eager, images)
        warn(
            f"{type(model).__name__} cannot be captured as one program, so it trains with "
            f"PyTorch's own forward and backward, which is slower: {error}"
        )
        return EagerRunner(eager, draws)
    reads = (step.reads_layout if step else None) or inference.reads_layout
    if reads is not None:
        warn(
            "the forward reads the memory layout of a tensor, which is channels_last here and may "
            f"be another one in a loop of your own, at {reads}"
        )
    constants = {**(step.constants if step else {}), **inference.constants}
    return EngineRunner(
        step.graph if step else None,
        inference.graph,
        list(constants.items()),
        None if smoothing is not None else OutputLoss(loss, reading, inference.structure),
        draws.call if draws else call_operation,
        label_smoothing=smoothing or 0.0,
        left_out=left_out(loss),
        other=EagerRunner(eager, draws),
        conv_algorithm=kernels.conv_algorithm,
        tune=kernels.tunes,
        tune_file=tune_file(),
        low_memory=kernels.saves_memory(on_cpu=device is None),
        device=device,
    )


def _inference(
    model: nn.Module,
    images: Tensor,
    captures: Captures,
    bf16: bool,
    reading: Reading,
    whole: bool,
    twice: bool,
) -> Capture:
    """The captured predictions, for batches of twice the size if the model takes them."""
    size, *rest = images.shape
    options = (bf16, print_of(reading), whole)

    def captured(example: Tensor) -> Capture:
        model.eval()
        make = partial(capture_inference, model, example, bf16=bf16, reading=reading, whole=whole)
        return captures.get(model, options, (example,), make)

    with kept_modes(model):
        if twice:
            # A forward may work for one size of batches only.
            with contextlib.suppress(CaptureError):
                return captured(to_channels_last(torch.zeros(2 * size, *rest)))
        return captured(images)


def step_bytes(runner: Runner) -> int:
    """The memory of a step's values; 0 as long as it is not known."""
    report = runner.step_report() if isinstance(runner, EngineRunner) else None
    return int(report["peak_bytes"]) if report else 0


def _step_module(
    model: nn.Module,
    loss: nn.Module,
    bf16: bool,
    lesson: Lesson | None,
    reading: Reading,
    images: Tensor,
) -> StepModule:
    if lesson is None:
        return StepModule(model, loss, bf16, reading)
    step = DistilledStep(model, loss, bf16, lesson, reading)
    lay_out(step.teacher)
    step.check_outputs(images)
    return step


def _traced(loss: nn.Module, device: CudaDevice | None) -> nn.Module:
    """The loss in the form that the program needs: on CUDA a cross-entropy is one operation."""
    smoothing = label_smoothing_of(loss)
    if device is None or smoothing is None:
        return loss
    return FusedCrossEntropy(smoothing)
