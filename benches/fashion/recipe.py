"""How the network is trained, the same by every system."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """ResNet-20 at 2:1, SGD with momentum, one cycle of the learning rate.

    Attributes:
        lr: the top of the cycle.
        pct_start: the share of the steps that goes up to it.
        pad: of the random crop.
        limit: of the training images, 0 for all of them.
    """

    epochs: int
    lr: float = 0.2
    pct_start: float = 0.25
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    pad: int = 2
    flip: bool = True
    limit: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """In words, for a table's caption."""
        part = f", the first {self.limit} images only" if self.limit else ""
        return (
            f"ResNet-20 at 2:1 on Fashion-MNIST{part}, {self.epochs} epochs, batch "
            f"{self.batch_size}, SGD with momentum {self.momentum} and weight decay "
            f"{self.weight_decay:g}, one cycle up to a rate of {self.lr:g}, crops after a padding "
            f"of {self.pad}{', flips' if self.flip else ''}"
        )


ACCURACY = Recipe(epochs=5)
TIME_TO_ACCURACY = Recipe(epochs=12)


def with_options(recipe: Recipe, **options: Any) -> Recipe:
    """The recipe with those options that are not None."""
    return replace(recipe, **{name: v for name, v in options.items() if v is not None})
