"""Networks and batches for training steps. No torch here, so that `--list` is quick."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


@dataclass(frozen=True)
class Work:
    """One network, or one layer, and its batch.

    Attributes:
        model: name in `proprelu.models`, or in `torchvision.models` after "torchvision.".
        size: height and width of the images.
        steps: timed steps in one turn: a few tenths of a second.
        ratio: convolutions to ReLUs, for networks of `proprelu.models`.
        lr: a rate with which the losses of the first steps fall, but not to zero.
        batches: batches in an epoch of the training set.
        pad: padding of the random crop; with 0 images are not augmented.
        checked_steps: number of first steps in which the losses of all systems have to agree.
        room_gb: free GPU memory that a system needs to be started beside others.
    """

    name: str
    model: str
    size: int
    batch: int
    steps: int
    ratio: str = "1:1"
    lr: float = 0.01
    channels: int = 3
    classes: int = 10
    batches: int = 1
    pad: int = 0
    checked_steps: int = 4
    room_gb: float = 0.0

    @property
    def is_small_resnet(self) -> bool:
        """Whether the peers outside of PyTorch, which implement only this network, can train it."""
        return self.model.startswith("resnet")

    @property
    def title(self) -> str:
        network = "" if self.model == self.name else f": {self.model} {self.ratio}"
        shape = f"{self.channels}x{self.size}x{self.size}"
        return f"{self.name}{network}, batch {self.batch} of {shape}"

    def dry(self) -> Work:
        """A copy that is small enough for a CPU: it runs all of the code and measures nothing."""
        return replace(self, size=32, batch=8, steps=2, batches=2, pad=4)


# On the CPU a turn is one epoch.
CPU_WORKS = (
    Work("resnet20_1to1", "resnet20", 32, 128, 3, batches=3),
    Work("resnet20_2to1", "resnet20", 32, 128, 3, "2:1", batches=3),
    Work("resnet56_2to1", "resnet56", 32, 128, 2, "2:1", batches=2),
    Work("vgg16_bn", "vgg16", 32, 128, 1, lr=0.001),
    Work("resnet18", "torchvision.resnet18", 64, 32, 2, lr=0.001, batches=2),
    Work("mobilenet_v2", "torchvision.mobilenet_v2", 64, 32, 2, lr=0.001, batches=2),
)


# proprelu launches the first three steps on a GPU kernel by kernel, and compiled PyTorch the first
# two; the others replay a graph, and are checked as well.
_GPU: dict[str, Any] = {"checked_steps": 6, "pad": 4, "room_gb": 8.0}
# The small images are as many as in CIFAR-10; the large ones take less than 1 GB.
GPU_WORKS = (
    Work("resnet20_2to1", "resnet20", 32, 512, 3 * 97, "2:1", batches=97, **_GPU),
    Work("resnet18", "torchvision.resnet18", 32, 512, 2 * 97, lr=0.001, batches=97, **_GPU),
    Work(
        "resnet50",
        "torchvision.resnet50",
        224,
        256,
        16,
        lr=0.001,
        classes=1000,
        batches=16,
        **{**_GPU, "pad": 28, "room_gb": 36.0},
    ),
)
