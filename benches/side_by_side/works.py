"""What is trained: networks, sizes, batches. No torch here, so that listing them is quick."""

from __future__ import annotations

from dataclasses import dataclass

NUM_CLASSES = 10
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
# Steps whose losses have to agree between the systems.
CHECKED_STEPS = 4


@dataclass(frozen=True)
class Work:
    """One network on one kind of batch.

    Attributes:
        model: a name of `proprelu.models`, or of `torchvision.models` after "torchvision.".
        size: of the square images of 3 channels.
        steps: how many are timed in one turn: some tenths of a second.
        ratio: of `proprelu.models`.
        lr: such that the losses of the first steps fall, but not to nothing.
        classes: of the labels.
    """

    name: str
    model: str
    size: int
    batch: int
    steps: int
    ratio: str = "1:1"
    lr: float = 0.01
    classes: int = NUM_CLASSES

    @property
    def is_small_resnet(self) -> bool:
        """Whether the peers outside of PyTorch, which are written for it, can train it."""
        return self.model.startswith("resnet")


WORKS = (
    Work("resnet20_1to1", "resnet20", 32, 128, 3),
    Work("resnet20_2to1", "resnet20", 32, 128, 3, "2:1"),
    Work("resnet56_2to1", "resnet56", 32, 128, 2, "2:1"),
    Work("vgg16_bn", "vgg16", 32, 128, 1, lr=0.001),
    Work("resnet18", "torchvision.resnet18", 64, 32, 2, lr=0.001),
    Work("mobilenet_v2", "torchvision.mobilenet_v2", 64, 32, 2, lr=0.001),
)


def work_named(name: str) -> Work:
    """The work of that name."""
    return next(work for work in WORKS if work.name == name)
