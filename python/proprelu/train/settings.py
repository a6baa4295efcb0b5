"""The settings of a trainer, checked, and the sessions that have them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from proprelu.checks import as_fraction, as_positive, as_whole
from proprelu.graph.reading import Choice
from proprelu.train.captures import Captures
from proprelu.train.checks import (
    check_choice,
    check_model,
    check_names,
    check_output,
    check_precision,
)
from proprelu.train.device.device import Device
from proprelu.train.device.place import as_device
from proprelu.train.draws import Draws
from proprelu.train.predictors import Predictors
from proprelu.train.recipe.distill import Distill, as_lesson
from proprelu.train.recipe.kernels import CONV_ALGORITHMS, MEMORIES, Kernels
from proprelu.train.recipe.losses import Loss, as_loss
from proprelu.train.recipe.optimizers import SGD, Optimizer, warn_of_ignored
from proprelu.train.recipe.schedules import Cosine, Schedule, schedule_settings
from proprelu.train.report.live_plot import LivePlot
from proprelu.train.report.loggers import Logger, Loggers
from proprelu.train.report.progress import ProgressBar
from proprelu.train.session import Session
from proprelu.train.state import check_optimizer, named_buffers, named_parameters

__all__ = ["Settings"]


class Settings:
    """What is trained and how. The arguments are those of ``Trainer``, which documents them.

    Attributes:
        captures: graphs that are shared with other trainers, whose networks are built alike.
    """

    captures: Captures | None = None

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer = SGD(),  # noqa: B008  frozen
        schedule: Schedule = Cosine(),  # noqa: B008  frozen
        loss: Loss = "cross_entropy",
        output: Choice = None,
        teacher: nn.Module | None = None,
        distill: Distill | None = None,
        precision: str = "fp32",
        device: str | torch.device | Device = "auto",
        ema_decay: float | None = None,
        ema_warmup: bool = True,
        clip_grad_norm: float | None = None,
        conv_algorithm: str = "auto",
        autotune: bool = True,
        memory: str = "auto",
        cuda_graph: bool = True,
        seed: int = 0,
        loggers: Sequence[Logger] = (),
        progress: bool = True,
    ) -> None:
        check_model(model)
        self.model = model
        self.loss = as_loss(loss)
        self.output = check_output(output)
        self._lesson = as_lesson(teacher, distill, model)
        self._device = as_device(device, model, cuda_graph)
        self.optimizer = optimizer
        self.schedule = schedule
        self.bf16 = check_precision(precision)
        self.ema_decay = None if ema_decay is None else as_fraction("ema_decay", ema_decay)
        self.ema_warmup = bool(ema_warmup)
        self.clip_grad_norm = clip_grad_norm
        if clip_grad_norm is not None:
            self.clip_grad_norm = as_positive("clip_grad_norm", clip_grad_norm)
        self.conv_algorithm = check_choice("conv_algorithm", conv_algorithm, CONV_ALGORITHMS)
        self.autotune = autotune
        self.memory = check_choice("memory", memory, MEMORIES)
        self.seed = as_whole("seed", seed, 0, 2**64 - 1)
        shown: list[Logger] = [ProgressBar(), LivePlot()] if progress else []
        self._loggers = Loggers([*shown, *loggers])
        self._draws = Draws(self.seed, self._device.generators)
        self._predictors = Predictors()
        self._busy = threading.Lock()
        schedule_settings(schedule)
        tensors = (named_parameters(model, self.loss), named_buffers(model, self.loss))
        check_names(name for named in tensors for name, _ in named)
        check_optimizer(model, self.loss, optimizer)
        warn_of_ignored(optimizer)

    def __getstate__(self) -> dict[str, Any]:
        # Programs and locks are made anew.
        made_anew = ("_predictors", "captures", "_busy")
        return {name: value for name, value in self.__dict__.items() if name not in made_anew}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._predictors = Predictors()
        self._busy = threading.Lock()

    def _session(self) -> Session:
        return Session(
            self.model,
            self.loss,
            self._lesson,
            self._device,
            Kernels(self.conv_algorithm, self.autotune, self.memory),
            self.bf16,
            self.output,
            self._draws,
            self._predictors,
            self.captures,
            self._busy,
        )

    @property
    def ema_settings(self) -> dict[str, Any] | None:
        """How parameters are averaged; None if they are not."""
        if self.ema_decay is None:
            return None
        return {"decay": self.ema_decay, "warmup": self.ema_warmup}
