"""The systems on a GPU: PyTorch in four configurations, and proprelu, all in bfloat16."""

from __future__ import annotations

from dataclasses import replace

from harness.system import PROPRELU, System


def _torch(way: str, feed: str, compiled: str = "") -> System:
    name = f"torch {way} {feed} bf16"
    return System(name, "torch", "bf16", "systems.torch_step", feed=feed, compiled=compiled)


LOADER = _torch("eager", "loader")
RESIDENT = _torch("eager", "resident")
REDUCE_OVERHEAD = _torch("compile reduce-overhead", "resident", "reduce-overhead")
MAX_AUTOTUNE = _torch("compile max-autotune", "resident", "max-autotune")
OURS = System("proprelu bf16", PROPRELU, "bf16", "systems.proprelu_step")
OURS_LOW = replace(OURS, name="proprelu bf16 low memory", memory="low")

# Where the memory of a GPU does not hold all, neighbors are measured together. The slowest to
# start is the last one, so that the others have had their turns if the time does not suffice.
GPU_SYSTEMS = (OURS, REDUCE_OVERHEAD, RESIDENT, OURS_LOW, LOADER, MAX_AUTOTUNE)
