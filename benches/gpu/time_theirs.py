"""PyTorch's training in the race: data on the GPU, eager or compiled."""

from __future__ import annotations

import time

import torch
from proprelu._core import Dataset
from torch import Tensor, nn

from gpu.augment import augmented, no_draws, scale_and_shift
from gpu.device import wait
from gpu.resident import Resident
from gpu.systems import GpuSystem
from gpu.time_ours import Epoch
from gpu.time_recipe import GpuRecipe
from gpu.torch_training import TorchTraining

_EVAL_BATCH = 1000


def train(
    model: nn.Module,
    system: GpuSystem,
    recipe: GpuRecipe,
    training: Dataset,
    test: Dataset,
    place: torch.device,
    start: float,
) -> list[Epoch]:
    """The epochs; `start` is that of the clock."""
    steps = TorchTraining(model, recipe.lr, recipe.pad, system, place)
    normalization = training.mean_std()
    feed = Resident(
        training.images(),
        training.labels(),
        recipe.batch_size,
        recipe.pad,
        normalization,
        place,
    )
    judge = _Judge(test, normalization, place)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        steps.optimizer,
        recipe.lr,
        total_steps=len(feed) * recipe.epochs,
        pct_start=recipe.pct_start,
        cycle_momentum=False,
    )
    epochs = []
    for _ in range(recipe.epochs):
        model.train()
        began = time.perf_counter()
        for batch in feed.epoch():
            steps.step(*batch)
            schedule.step()
        wait(place)
        seconds = time.perf_counter() - began
        top1 = judge.top1(model)
        epochs.append({"seconds": seconds, "elapsed": time.perf_counter() - start, "top1": top1})
    return epochs


class _Judge:
    """Test images on the device."""

    def __init__(
        self, test: Dataset, normalization: tuple[list[float], list[float]], place: torch.device
    ) -> None:
        self._pixels = torch.from_numpy(test.images()).to(place)
        self._labels = torch.from_numpy(test.labels()).to(place)
        self._scale, self._shift = (v.to(place) for v in scale_and_shift(*normalization))
        self._place = place

    @torch.no_grad()
    def top1(self, model: nn.Module) -> float:
        """The share of images that are told right."""
        model.eval()
        right = torch.zeros((), dtype=torch.int64, device=self._place)
        for start in range(0, len(self._pixels), _EVAL_BATCH):
            labels = self._labels[start : start + _EVAL_BATCH]
            images = self._images(self._pixels[start : start + _EVAL_BATCH])
            with torch.autocast(self._place.type, torch.bfloat16):
                predictions: Tensor = model(images)
            right += (predictions.argmax(1) == labels).sum()
        return int(right) / len(self._labels)

    def _images(self, pixels: Tensor) -> Tensor:
        drawn = no_draws(len(pixels), 0, self._place)
        return augmented(pixels, drawn, self._scale, self._shift, pad=0)
