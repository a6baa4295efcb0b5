"""The systems that compute a single layer: PyTorch and proprelu, in both layouts and precisions."""

from __future__ import annotations

from dataclasses import replace

from harness.system import System

# A layer takes a few milliseconds, and would be measured by its page faults, which depend on the
# order of allocations: all have the tuned allocator.
LAYER_SYSTEMS = tuple(
    System(
        f"{kind} {layout} {precision}",
        kind,
        precision,
        "systems.layer_step",
        channels_last=layout == "channels_last",
        allocator="glibc tuned",
    )
    for precision in ("fp32", "bf16")
    for kind in ("torch", "proprelu")
    for layout in ("NCHW", "channels_last")
)
LAYER_FLOOR = replace(LAYER_SYSTEMS[0], name="floor")
