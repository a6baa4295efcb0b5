"""The images, and the batches that both sides train on.

PyTorch's side reads from our loader too: the same crops and flips, in the same order for a seed,
and faster than a `DataLoader` of Python transforms would give them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import proprelu
import torch
from proprelu._core import Dataset, Loader
from torch import Tensor

from fashion.recipe import Recipe

EVAL_BATCH = 256


def splits(recipe: Recipe) -> tuple[Dataset, Dataset]:
    """Training and test images."""
    train = proprelu.datasets.fashion_mnist("train")
    test = proprelu.datasets.fashion_mnist("test")
    if recipe.limit:
        train, test = (part.subset(range(min(recipe.limit, len(part)))) for part in (train, test))
    return train, test


def augment(recipe: Recipe) -> proprelu.Augment:
    return proprelu.Augment(pad=recipe.pad, flip=recipe.flip)


class Batches:
    """A loader's batches as channels_last tensors."""

    def __init__(self, dataset: Dataset, batch_size: int, settings: str, **options: Any) -> None:
        self._loader = Loader(dataset, batch_size, augment=settings, **options)

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self._loader.epoch(number):
            yield torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def batches(recipe: Recipe, seed: int) -> tuple[Batches, Batches]:
    """Training and test batches of PyTorch's side."""
    train, test = splits(recipe)
    fitted = augment(recipe).fitted(train)
    size = recipe.batch_size
    shuffled = Batches(train, size, fitted.to_json(), shuffle=True, drop_last=True, seed=seed)
    return shuffled, Batches(test, EVAL_BATCH, fitted.evaluation().to_json())
