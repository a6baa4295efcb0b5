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
from proprelu.data.feeds import EvalFeed
from proprelu.graph.mode import kept_modes, parts, start_training, untouched_random
from proprelu.graph.reading import Choice, Reading
from proprelu.graph.step import StepModule, precision
from proprelu.graph.torch_globals import TORCH_GLOBALS
from proprelu.train.captures import Captures
from proprelu.train.device.device import Device
from proprelu.train.device.layout import channels_last
from proprelu.train.device.place import move, on_cpu
from proprelu.train.draws import Draws
from proprelu.train.eager import EagerRunner
from proprelu.train.in_use import in_use
from proprelu.train.modes import default_modes, own_modes
from proprelu.train.predictors import Predictors, signature
from proprelu.train.recipe.distill import Lesson
from proprelu.train.recipe.kernels import Kernels
from proprelu.train.recipe.losses import reads_predictions
from proprelu.train.recipe.optimizers import Optimizer
from proprelu.train.runner import Runner, make_runner
from proprelu.train.state import averages_in_place, fixed_state, make_state
from proprelu.train.trial import try_step

__all__ = ["Session"]

# A capture takes about as long as PyTorch takes for this many small images.
WORTH_CAPTURING = 1024
# Smaller batches are too short for the kernels of a program.
LEAST_BATCH = 32


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
        draws: the generator of a training's random operations.
        predictors: the captured predictors of earlier calls.
        captures: graphs that are shared with other trainers, if any.
        busy: the lock that is held during a call.
    """

    model: nn.Module
    loss: nn.Module
    lesson: Lesson | None
    device: Device
    kernels: Kernels
    bf16: bool
    output: Choice
    draws: Draws
    predictors: Predictors
    captures: Captures | None
    busy: threading.Lock

    @contextmanager
    def training(self) -> Iterator[None]:
        """Use the model for a training, on its device and with parameters in NHWC.

        Everything except the values of tensors is restored afterwards.

        Raises:
            RuntimeError: another call is running.
        """
        with self._alone(trains=True), channels_last(self.model, self.loss):
            start_training(self.model)
            try:
                yield
            finally:
                self._mark_changed()

    @contextmanager
    def evaluating(self, averages: Mapping[str, Tensor]) -> Iterator[None]:
        """Use the model for predictions, with averages in place of parameters."""
        with self._alone(), averages_in_place(self.model, self.loss, averages):
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
        """Programs for batches of one shape; those for predictions alone are kept.

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
        leaves = [] if labels is None else tree_flatten(labels)[0]
        reading = self._reading(reading, labels)
        whole = reading.whole and labels is not None
        key = (images.shape, images.dtype, whole, self.kernels, self.bf16, self.device)
        described = None if training else (reading, signature(self.model), signature(self.loss))
        kept = None if training else self.predictors.get(key, described)
        if kept is not None:
            return kept, reading
        with self._tracing():
            if training:
                step = StepModule(self.model, self.loss, self.bf16, reading)
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
                draws=self.draws if training else None,
                captures=self.captures,
            )
        if isinstance(runner, EagerRunner):
            runner.to(self.device.device)
        if not training:
            self.predictors.keep(key, described, runner)
        return runner, reading

    def evaluator(self, feed: EvalFeed, reading: Reading | None) -> tuple[Runner, Reading]:
        """What evaluates batches: a captured program for many images, PyTorch for few."""
        size = len(feed.images)
        try:
            count = len(feed.batches) * size
        except TypeError:  # a stream without a length
            count = WORTH_CAPTURING
        if self._worth_capturing(count, size):
            return self.capture(feed.images, feed.labels, reading)
        reading = self._reading(reading, feed.labels)
        return EagerRunner(StepModule(self.model, self.loss, self.bf16, reading)), reading

    def predict(self, images: Tensor, batch_size: int, reading: Reading | None) -> Tensor:
        """The predictions for images, on the CPU in float32."""
        if self._worth_capturing(len(images), batch_size):
            runner, _ = self.capture(images[:batch_size], None, reading)
            return self.fixed_state().predict(runner, images)
        reading = self._reading(reading)
        with torch.no_grad(), precision(self.bf16, self.device.device):
            batches = torch.split(_ordinary(images), batch_size)
            return torch.cat([self._predict_batch(batch, reading) for batch in batches])

    def _predict_batch(self, images: Tensor, reading: Reading) -> Tensor:
        output = self.model(images.to(self.device.device, torch.float32))
        return reading.predictions(output).float().cpu()

    def _worth_capturing(self, count: int, batch_size: int) -> bool:
        """Whether a program for so many images is faster, with the time of its capture."""
        return count >= WORTH_CAPTURING and batch_size >= LEAST_BATCH

    def _reading(self, earlier: Reading | None, labels: Any = None) -> Reading:
        """How predictions are read, with the place that an earlier capture has found."""
        _, spec = tree_flatten(labels)
        structure = None if labels is None or isinstance(labels, Tensor) else spec
        path = earlier.path if earlier else None
        return Reading(self.output, not reads_predictions(self.loss), path, structure)

    def state(self, optimizer: Optimizer, ema: Mapping[str, Any] | None = None) -> TrainState:
        """The state of a training that has not begun; see ``make_state``."""
        return make_state(self.model, self.loss, optimizer, ema)

    def fixed_state(self) -> TrainState:
        """The state for predictions, with nothing to train."""
        return fixed_state(self.model, self.loss)

    @contextmanager
    def _alone(self, trains: bool = False) -> Iterator[None]:
        if not self.busy.acquire(blocking=False):
            raise RuntimeError("the trainer is busy: wait until fit, evaluate or predict returns")
        try:
            modules, device = parts(self.model), self.device.device
            with (
                in_use([*modules, *parts(self.loss)], trains),
                own_modes(device),
                kept_modes(self.model, modules) as any_trains,
                self.device.active(),
            ):
                move(self.model, device)
                move(self.loss, device)
                if any_trains and not trains:
                    self.model.eval()
                yield
        finally:
            self.busy.release()

    @contextmanager
    def _tracing(self) -> Iterator[None]:
        """Keep a trace from changing, or depending on, anything of the caller's."""
        with (
            TORCH_GLOBALS,
            default_modes(),
            untouched_random(),
            kept_modes(self.model),
            on_cpu(self.model, self.loss),
        ):
            yield

    def _mark_changed(self) -> None:
        """Let autograd and autocast notice that the core has changed the tensors in place."""
        tensors = [*self.model.parameters(), *self.model.buffers(), *self.loss.parameters()]
        torch.autograd.graph.increment_version(tensors)
        torch.clear_autocast_cache()


def _ordinary(images: Tensor) -> Tensor:
    """The images themselves; a copy if they were made under inference mode."""
    return images.detach().clone() if images.is_inference() else images.detach()
