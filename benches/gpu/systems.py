"""Who trains on a GPU: PyTorch in four ways, and ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuSystem:
    """One way to train, in bfloat16.

    Attributes:
        loader: images come from a DataLoader's workers; else they lie on the GPU.
        compiled: a mode of `torch.compile`, "" for eager.
        ours: `Trainer`.
        low_memory: of our trainer.
    """

    name: str
    loader: bool = False
    compiled: str = ""
    ours: bool = False
    low_memory: bool = False

    @property
    def precision(self) -> str:
        return "bf16"


LOADER = GpuSystem("torch eager loader bf16", loader=True)
RESIDENT = GpuSystem("torch eager resident bf16")
REDUCE_OVERHEAD = GpuSystem(
    "torch compile reduce-overhead resident bf16", compiled="reduce-overhead"
)
MAX_AUTOTUNE = GpuSystem("torch compile max-autotune resident bf16", compiled="max-autotune")
OURS = GpuSystem("proprelu bf16", ours=True)
OURS_LOW = GpuSystem("proprelu bf16 low memory", ours=True, low_memory=True)

# Where the memory of a GPU does not hold all, neighbors are measured together. The slowest to
# start is the last one: should the time not do for it, the others have had their turns.
SYSTEMS = (OURS, REDUCE_OVERHEAD, RESIDENT, OURS_LOW, LOADER, MAX_AUTOTUNE)


def gpu_system(name: str) -> GpuSystem:
    """The system of that name."""
    return next(system for system in SYSTEMS if system.name == name)


def is_named(name: str, parts: str) -> bool:
    """Whether one of the parts, with commas between them, is in a name."""
    return any(part.strip() in name for part in parts.split(","))
