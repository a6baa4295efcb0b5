"""What a recipe trains, and how: network, images, augmentation and `Trainer`."""

from __future__ import annotations

from typing import Any

import proprelu
from proprelu._core import Dataset
from torch import nn

from works.recipe import Recipe


def make_model(recipe: Recipe) -> nn.Module:
    """The network, with weights from torch's current random state."""
    return proprelu.models.create(
        recipe.model, ratio=recipe.ratio, in_channels=1, width=recipe.width
    )


def splits(recipe: Recipe, root: str | None = None, small: bool = False) -> tuple[Dataset, Dataset]:
    """Training and test images.

    Args:
        root: the folder to search first.
        small: use the part of the data set that comes with the package.
    """
    if small:
        parts = [proprelu.datasets.fashion_mnist_small(name) for name in ("train", "test")]
    else:
        parts = [proprelu.datasets.fashion_mnist(name, root=root) for name in ("train", "test")]
    if recipe.limit:
        parts = [part.subset(range(min(recipe.limit, len(part)))) for part in parts]
    return parts[0], parts[1]


def augment(recipe: Recipe) -> proprelu.Augment:
    return proprelu.Augment(pad=recipe.pad, flip=recipe.flip)


def trainer_for(
    model: nn.Module, recipe: Recipe, optimizer: Any = None, **options: Any
) -> proprelu.Trainer:
    """Our trainer with the recipe's schedule and optimizer, or another optimizer."""
    sgd = proprelu.SGD(recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    schedule = proprelu.OneCycle(pct_start=recipe.pct_start)
    return proprelu.Trainer(model, optimizer or sgd, schedule, progress=False, **options)


def fit(
    trainer: proprelu.Trainer, recipe: Recipe, data: tuple[Dataset, Dataset]
) -> proprelu.History:
    """Train and evaluate after each epoch."""
    return trainer.fit(
        *data, epochs=recipe.epochs, batch_size=recipe.batch_size, augment=augment(recipe)
    )
