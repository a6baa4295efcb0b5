"""A whole training on Fashion-MNIST, by proprelu or by PyTorch.

Sends its epochs: seconds of training, seconds from the start of the clock to the end of the
evaluation, and the test accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from harness.system import System
from harness.talk import Talk
from proprelu._core import Dataset
from torch import nn
from works.fashion import fit, make_model, splits, trainer_for
from works.recipe import Recipe

from systems import torch_fit
from systems.proprelu_step import trainer_options
from systems.torch_fit import Epoch


def serve(
    talk: Talk,
    system: System,
    device: str,
    recipe: Recipe,
    seed: int,
    data: str | None,
    small: bool,
) -> None:
    options = trainer_options(system)
    images = splits(recipe, data, small)
    torch.manual_seed(seed)
    model = make_model(recipe)
    start = time.perf_counter()
    if system.is_ours:
        options |= {"precision": system.precision, "device": device, "seed": seed}
        epochs = _train(model, recipe, images, start, options)
    else:
        epochs = torch_fit.train(model, system, recipe, images, device, seed, start)
    talk.send(epochs=epochs, total_seconds=time.perf_counter() - start, torch=torch.__version__)


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


def _train(
    model: nn.Module,
    recipe: Recipe,
    data: tuple[Dataset, Dataset],
    start: float,
    options: dict[str, Any],
) -> list[Epoch]:
    """Train with `Trainer.fit`."""
    watch = _Watch(len(data[0]) // recipe.batch_size * recipe.batch_size, start)
    fit(trainer_for(model, recipe, loggers=[watch], **options), recipe, data)
    return watch.epochs
