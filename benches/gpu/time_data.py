"""The network and the images of the race."""

from __future__ import annotations

import proprelu
from proprelu._core import Dataset
from torch import nn

from gpu.time_recipe import GpuRecipe


def make_model(recipe: GpuRecipe) -> nn.Module:
    """As torch's random numbers have it."""
    return proprelu.models.create(
        recipe.model, ratio=recipe.ratio, in_channels=1, width=recipe.width
    )


def splits(recipe: GpuRecipe, data: str, dry: bool) -> tuple[Dataset, Dataset]:
    """Training and test images, from the folder `data` if it is not ""."""
    if dry:
        parts = [proprelu.datasets.fashion_mnist_small(name) for name in ("train", "test")]
    else:
        parts = [
            proprelu.datasets.fashion_mnist(name, root=data or None) for name in ("train", "test")
        ]
    if recipe.limit:
        parts = [part.subset(range(min(recipe.limit, len(part)))) for part in parts]
    return parts[0], parts[1]
