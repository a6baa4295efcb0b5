"""PyTorch's training: a plain loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from side_by_side.systems import System
from torch import Tensor, nn
from torch.nn import functional as F

from fashion.data import Batches, batches
from fashion.recipe import Recipe

Epoch = dict[str, float]


def train(model: nn.Module, system: System, recipe: Recipe, seed: int) -> Iterator[Epoch]:
    """Epoch by epoch: its seconds of training and the test accuracy after it."""
    bf16 = system.precision == "bf16"
    layout = torch.channels_last if system.channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    training, test = batches(recipe, seed)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.lr,
        total_steps=len(training) * recipe.epochs,
        pct_start=recipe.pct_start,
        cycle_momentum=False,
    )

    def predicted(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            predictions: Tensor = model(images)
        return predictions.float()

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(predicted(images), labels)

    forward = torch.compile(loss_of) if system.compiled else loss_of
    if system.compiled:
        _compile(forward, model, training)
    for number in range(recipe.epochs):
        model.train()
        start = time.perf_counter()
        for images, labels in training.epoch(number):
            images = images.contiguous(memory_format=layout)
            optimizer.zero_grad()
            forward(images, labels).backward()
            optimizer.step()
            schedule.step()
        seconds = time.perf_counter() - start
        yield {"seconds": seconds, "top1": _accuracy(model, predicted, test)}


def _compile(
    forward: Callable[[Tensor, Tensor], Tensor], model: nn.Module, training: Batches
) -> None:
    """Compile off the clock, with the model as it was afterwards."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    images, labels = next(training.epoch(0))
    forward(images, labels).backward()
    model.zero_grad()
    model.load_state_dict(before)


@torch.no_grad()
def _accuracy(model: nn.Module, predicted: Callable[[Tensor], Tensor], test: Batches) -> float:
    model.eval()
    right = total = 0
    for images, labels in test.epoch(0):
        right += int((predicted(images).argmax(1) == labels).sum())
        total += len(labels)
    return right / total
