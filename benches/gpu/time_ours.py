"""Our training in the race: `Trainer.fit` on the GPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import proprelu
import torch
from fashion.data import augment
from proprelu._core import Dataset
from torch import nn

from gpu.time_recipe import GpuRecipe

Epoch = dict[str, float]


class _Watch:
    """A logger that takes the time at the end of each epoch."""

    def __init__(self, images: int, start: float) -> None:
        self._images = images
        self._start = start
        self.epochs: list[Epoch] = []

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None: ...

    def on_step(self, event: object) -> None: ...

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        seconds = self._images / row["images_per_s"]
        elapsed = time.perf_counter() - self._start
        self.epochs.append({"seconds": seconds, "elapsed": elapsed, "top1": row["val_top1"]})

    def on_fit_end(self) -> None: ...


def train(
    model: nn.Module,
    recipe: GpuRecipe,
    seed: int,
    training: Dataset,
    test: Dataset,
    place: torch.device,
    start: float,
) -> list[Epoch]:
    """The epochs; `start` is that of the clock."""
    watch = _Watch(len(training) // recipe.batch_size * recipe.batch_size, start)
    trainer = proprelu.Trainer(
        model,
        proprelu.SGD(recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay),
        proprelu.train.OneCycle(pct_start=recipe.pct_start),
        precision="bf16",
        device=place,
        seed=seed,
        progress=False,
        loggers=[watch],
    )
    trainer.fit(
        training,
        test,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        augment=augment(recipe),
    )
    return watch.epochs
