"""How the network is trained in the race to an accuracy, the same by every system.

No torch here, so that the benchmark starts quickly.
"""

from __future__ import annotations

from dataclasses import dataclass

from fashion.recipe import Recipe

# Of a dry run.
_DRY_IMAGES = 32


@dataclass(frozen=True)
class GpuRecipe(Recipe):
    """A wide ResNet at 2:1: on a GPU width costs less than epochs do.

    Attributes:
        model: a ResNet of `proprelu.models`.
        width: channels of its first stage.
    """

    epochs: int = 12
    lr: float = 0.4
    batch_size: int = 512
    model: str = "resnet20"
    ratio: str = "2:1"
    width: int = 64

    def text(self) -> str:
        part = f", the first {self.limit} images only" if self.limit else ""
        return (
            f"{self.model} at {self.ratio}, {self.width} channels wide, on Fashion-MNIST{part}, "
            f"{self.epochs} epochs, batch {self.batch_size}, SGD with momentum {self.momentum} and "
            f"weight decay {self.weight_decay:g}, one cycle up to a rate of {self.lr:g}, crops "
            f"after a padding of {self.pad}{', flips' if self.flip else ''}"
        )


DRY = GpuRecipe(epochs=2, lr=0.05, batch_size=8, width=4, limit=_DRY_IMAGES)
