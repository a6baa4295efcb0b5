"""What is trained on a GPU: networks, sizes, batches. No torch here, so that listing is quick."""

from __future__ import annotations

from dataclasses import dataclass, replace

from side_by_side.works import Work

# Steps whose losses have to agree. Ours launches the first three kernel by kernel, torch's
# compiled ones two: the others are replays of a graph.
CHECKED_STEPS = 6
# Of all systems' training images: bytes drawn evenly have nearly this mean and deviation, as 0..1.
MEAN, STD = 0.5, 0.289


@dataclass(frozen=True)
class GpuWork(Work):
    """One network, its batch, and the data that a turn goes through.

    Attributes:
        batches: in the training set; an epoch has as many steps.
        pad: of the random crop.
        room_gb: of the GPU's memory; a system is started only where so much is free.
    """

    batches: int = 1
    pad: int = 4
    room_gb: float = 8.0

    @property
    def epochs(self) -> int:
        """In a turn."""
        return self.steps // self.batches


# As many images as CIFAR-10 has for the small ones. Of the large ones a GB at most.
WORKS = (
    GpuWork("resnet20_2to1", "resnet20", 32, 512, 3 * 97, "2:1", batches=97),
    GpuWork("resnet18", "torchvision.resnet18", 32, 512, 2 * 97, lr=0.001, batches=97),
    GpuWork(
        "resnet50",
        "torchvision.resnet50",
        224,
        256,
        16,
        lr=0.001,
        classes=1000,
        batches=16,
        pad=28,
        room_gb=36.0,
    ),
)


def work_named(name: str, dry: bool = False) -> GpuWork:
    """The work of that name."""
    work = next(work for work in WORKS if work.name == name)
    return dried(work) if dry else work


def dried(work: GpuWork) -> GpuWork:
    """So small that a CPU goes through it: it proves the way and measures nothing."""
    return replace(work, size=32, batch=8, steps=2, batches=2, pad=4)
