"""PyTorch's whole training: a plain loop, eager or compiled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from harness.machine import wait
from harness.system import System
from proprelu._core import Dataset, Loader
from torch import Tensor, nn
from works.fashion import augment
from works.recipe import Recipe

from systems.augment import augmented, no_draws, scale_and_shift
from systems.resident import Resident
from systems.torch_training import TorchTraining, layout_of

Epoch = dict[str, float]
Batch = tuple[Tensor, ...]
_EVAL_BATCH = {"cpu": 256, "cuda": 1000}


class LoaderFeed:
    """Batches of our loader, as the systems on a CPU train on them.

    It gives PyTorch the same crops and flips in the same order, and faster than a `DataLoader` with
    transforms in Python.
    """

    def __init__(
        self, recipe: Recipe, data: tuple[Dataset, Dataset], system: System, seed: int
    ) -> None:
        fitted = augment(recipe).fitted(data[0])
        options: dict[str, Any] = {"shuffle": True, "drop_last": True, "seed": seed}
        self._training = Loader(data[0], recipe.batch_size, augment=fitted.to_dict(), **options)
        evaluation = fitted.evaluation().to_dict()
        self._test = Loader(data[1], _EVAL_BATCH["cpu"], augment=evaluation)
        self._layout = layout_of(system)

    def __len__(self) -> int:
        return len(self._training)

    def epoch(self, number: int) -> Iterator[Batch]:
        return self._batches(self._training, number)

    def test(self) -> Iterator[Batch]:
        return self._batches(self._test, 0)

    def _batches(self, loader: Loader, epoch: int) -> Iterator[Batch]:
        for pixels, labels in loader.epoch(epoch):
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            yield images.contiguous(memory_format=self._layout), torch.from_numpy(labels)


class ResidentFeed:
    """Batches of a data set on the GPU, and its test images there."""

    def __init__(self, recipe: Recipe, data: tuple[Dataset, Dataset], device: str) -> None:
        training, test = data
        mean_std = training.mean_std()
        arrays = training.images(), training.labels()
        self._training = Resident(*arrays, recipe.batch_size, recipe.pad, mean_std, device)
        self._pixels = torch.from_numpy(test.images()).to(device)
        self._labels = torch.from_numpy(test.labels()).to(device)
        self._scale, self._shift = (v.to(device) for v in scale_and_shift(*mean_std))
        self._device = device

    def __len__(self) -> int:
        return len(self._training)

    def epoch(self, number: int) -> Iterator[Batch]:
        return self._training.epoch()

    def test(self) -> Iterator[Batch]:
        size = _EVAL_BATCH["cuda"]
        for pixels, labels in zip(self._pixels.split(size), self._labels.split(size), strict=True):
            drawn = no_draws(len(pixels), 0, self._device)
            yield augmented(pixels, drawn, self._scale, self._shift, pad=0), labels


def train(
    model: nn.Module,
    system: System,
    recipe: Recipe,
    data: tuple[Dataset, Dataset],
    device: str,
    seed: int,
    start: float,
) -> list[Epoch]:
    """The epochs; `start` is the start of the clock."""
    training = TorchTraining(model, recipe.lr, recipe.pad, system, device)
    feed = (
        ResidentFeed(recipe, data, device)
        if system.feed == "resident"
        else LoaderFeed(recipe, data, system, seed)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        training.optimizer,
        recipe.lr,
        total_steps=len(feed) * recipe.epochs,
        pct_start=recipe.pct_start,
        cycle_momentum=False,
    )
    model.train()
    if system.compiled and system.feed == "memory":
        training.compile_ahead(*next(feed.epoch(0)))
    epochs = []
    for number in range(recipe.epochs):
        model.train()
        begin = time.perf_counter()
        for batch in feed.epoch(number):
            training.step(*batch)
            schedule.step()
        wait(device)
        seconds = time.perf_counter() - begin
        top1 = _top1(training, feed, device)
        epochs.append({"seconds": seconds, "elapsed": time.perf_counter() - start, "top1": top1})
    return epochs


@torch.no_grad()
def _top1(training: TorchTraining, feed: LoaderFeed | ResidentFeed, device: str) -> float:
    """The share of test images that are classified correctly."""
    training.model.eval()
    right, total = torch.zeros((), dtype=torch.int64, device=device), 0
    for images, labels in feed.test():
        right += (training.loss.predicted(images).argmax(1) == labels).sum()
        total += len(labels)
    return int(right) / total
