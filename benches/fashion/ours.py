"""Our training: `Trainer.fit`."""

from __future__ import annotations

from typing import Any

import proprelu
from side_by_side.systems import System
from torch import nn

from fashion.data import augment, splits
from fashion.recipe import Recipe


def train(model: nn.Module, system: System, recipe: Recipe, seed: int) -> list[dict[str, float]]:
    """For each epoch its seconds of training and the test accuracy after it."""
    training, test = splits(recipe)
    options: dict[str, Any] = {"conv_algorithm": "direct"} if system.direct else {}
    trainer = proprelu.Trainer(
        model,
        proprelu.SGD(recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay),
        proprelu.train.OneCycle(pct_start=recipe.pct_start),
        precision=system.precision,
        seed=seed,
        progress=False,
        **options,
    )
    history = trainer.fit(
        training,
        test,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        augment=augment(recipe),
    )
    images = len(training) // recipe.batch_size * recipe.batch_size
    return [{"seconds": images / row["images_per_s"], "top1": row["val_top1"]} for row in history]
