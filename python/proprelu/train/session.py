"""What ``fit``, ``evaluate`` and ``predict`` share: a model on its device, and its programs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from proprelu._core import TrainState
from proprelu.graph.mode import kept_modes
from proprelu.graph.reading import Choice, Reading
from proprelu.graph.step import StepModule
from proprelu.train.device.device import Device
from proprelu.train.device.layout import channels_last
from proprelu.train.device.place import on_cpu
from proprelu.train.eager import EagerRunner
from proprelu.train.recipe.distill import Lesson
from proprelu.train.recipe.kernels import Kernels
from proprelu.train.recipe.losses import reads_predictions
from proprelu.train.recipe.optimizers import Optimizer
from proprelu.train.runner import Runner, make_runner
from proprelu.train.state import averages_in_place, make_state
from proprelu.train.trial import try_step

__all__ = ["Session"]


@dataclass(frozen=True)
class Session:
    """A model with its loss on a device, for one call of a trainer.

    Attributes:
        model: the model.
        loss: called with its output and the labels.
        lesson: the teacher that a training learns from, if any.
        device: where the steps run.
        kernels: how the core chooses its kernels.
        bf16: run the model under bfloat16 autocast.
        output: which part of the model's output the predictions are.
        busy: the lock that is held during a call.
    """

    model: nn.Module
    loss: nn.Module
    lesson: Lesson | None
    device: Device
    kernels: Kernels
    bf16: bool
    output: Choice
    busy: threading.Lock

    @contextmanager
    def training(self) -> Iterator[None]:
        """Use the device, with parameters in NHWC.

        Layouts, modes and random states are restored afterwards.

        Raises:
            RuntimeError: another call is running.
        """
        with self._alone(), self.device.active(), channels_last(self.model):
            yield

    @contextmanager
    def evaluating(self, averages: Mapping[str, Tensor]) -> Iterator[None]:
        """As ``training``, with averages in place of parameters."""
        averaged = averages_in_place(self.model, self.loss, averages)
        with self._alone(), averaged, self.device.active(), channels_last(self.model):
            yield

    def capture(
        self,
        images: Tensor,
        labels: Any = None,
        reading: Reading | None = None,
        *,
        training: bool = False,
        num_classes: int | None = None,
    ) -> tuple[Runner, Reading]:
        """Capture programs for batches of one shape, and move the model to the device.

        Args:
            images: (N, C, H, W), an example of a batch.
            labels: its labels: a tensor, or a tuple or dict of tensors; ``None`` to predict only.
            reading: how predictions are read from the model's output, from an earlier capture;
                a training finds out.
            training: whether to capture a training step, besides predictions.
            num_classes: the classes of the data, where they specify it.

        Returns:
            The programs, and how the predictions are read.
        """
        leaves, spec = ([], None) if labels is None else tree_flatten(labels)
        structure = None if isinstance(labels, Tensor) else spec
        whole = not reads_predictions(self.loss)
        path = reading.path if reading else None
        reading = Reading(self.output, whole, path, structure)
        with on_cpu(self.model, self.loss):
            if training:
                step = StepModule(self.model.train(), self.loss, self.bf16, reading)
                reading = try_step(step, images, leaves, num_classes)
            runner = make_runner(
                self.model,
                self.loss,
                images,
                leaves,
                reading,
                training=training,
                kernels=self.kernels,
                bf16=self.bf16,
                lesson=self.lesson if training else None,
                device=self.device.kernels,
            )
        for module in (self.model, self.loss):
            module.to(self.device.device)
        if isinstance(runner, EagerRunner):
            runner.to(self.device.device)
        return runner, reading

    def state(self, optimizer: Optimizer, ema_decay: float | None = None) -> TrainState:
        """The state of a training that has not begun; see ``make_state``."""
        return make_state(self.model, self.loss, optimizer, ema_decay)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self.busy.acquire(blocking=False):
            raise RuntimeError("the trainer is busy: wait until fit, evaluate or predict returns")
        try:
            with torch.random.fork_rng(devices=self.device.generators), kept_modes(self.model):
                yield
        finally:
            self.busy.release()
