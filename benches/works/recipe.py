"""How a network is trained on Fashion-MNIST, the same by every system.

No torch here, so that the benchmarks start quickly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from works.steps import MOMENTUM, WEIGHT_DECAY

# The results of one training, as they are stored.
Training = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A ResNet, SGD with momentum, one cycle of the learning rate.

    Attributes:
        lr: peak of the cycle.
        pct_start: share of the steps in which the rate rises.
        pad: padding of the random crop.
        limit: number of training images to use, and of test images; 0 for all.
        model: a ResNet of `proprelu.models`.
        width: channels of its first stage.
    """

    epochs: int
    lr: float = 0.2
    pct_start: float = 0.25
    batch_size: int = 128
    momentum: float = MOMENTUM
    weight_decay: float = WEIGHT_DECAY
    pad: int = 2
    flip: bool = True
    limit: int = 0
    model: str = "resnet20"
    ratio: str = "2:1"
    width: int = 16

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def part(self) -> str:
        """In words, which images are used."""
        return f", the first {self.limit} images only" if self.limit else ""

    def options(self) -> str:
        """The options of the command line that choose it."""
        return f"--epochs {self.epochs}" + (f" --limit {self.limit}" if self.limit else "")

    def text(self) -> str:
        """In words, for the caption of a table."""
        wide = f", {self.width} channels wide," if self.width != 16 else ""
        return (
            f"{self.model.replace('resnet', 'ResNet-')} at {self.ratio}{wide} on Fashion-MNIST"
            f"{self.part()}, {self.epochs} epochs, batch {self.batch_size}, SGD with momentum "
            f"{self.momentum} and weight decay {self.weight_decay:g}, one cycle up to a rate of "
            f"{self.lr:g}, crops after a padding of {self.pad}{', flips' if self.flip else ''}"
        )


@dataclass(frozen=True)
class Pretrained(Recipe):
    """A training at 1:1, and how the trained network continues.

    Attributes:
        extra_epochs: after the first training.
        extra_lr: peak of their cycle.
        anneal: share of the extra epochs in which the slopes go from 0 to 1.
    """

    epochs: int = 5
    ratio: str = "1:1"
    extra_epochs: int = 4
    extra_lr: float = 0.05
    anneal: float = 0.5

    def options(self) -> str:
        return f"{super().options()} --extra-epochs {self.extra_epochs}"


ACCURACY = Recipe(epochs=5)
TIME_TO_ACCURACY = Recipe(epochs=12)
METHODS = Recipe(epochs=3)
# Wide, because on a GPU width costs less than epochs.
GPU_TIME_TO_ACCURACY = Recipe(epochs=12, lr=0.4, batch_size=512, width=64)
DRY = replace(GPU_TIME_TO_ACCURACY, epochs=2, lr=0.05, batch_size=8, width=4, limit=32)

_Recipe = TypeVar("_Recipe", bound=Recipe)


def with_options(recipe: _Recipe, **options: Any) -> _Recipe:
    """The recipe with the options that are not None."""
    return replace(recipe, **{name: v for name, v in options.items() if v is not None})
