"""The systems that run a network: PyTorch the original, proprelu the converted one."""

from __future__ import annotations

from dataclasses import replace

from harness.system import PROPRELU, System


def _system(kind: str, network: str, compiled: bool = False) -> System:
    """All are in channels_last, with the tuned allocator, in fp32."""
    return System(
        f"{kind} {network}{' compiled' if compiled else ''}",
        kind,
        "fp32",
        "systems.forward",
        compiled="default" if compiled else "",
        allocator="glibc tuned",
        network=network,
    )


INFERENCE_SYSTEMS = (
    _system("torch", "original"),
    _system("torch", "folded"),
    _system("torch", "original", compiled=True),
    _system("torch", "folded", compiled=True),
    _system(PROPRELU, "converted"),
    _system(PROPRELU, "merged"),
    _system(PROPRELU, "merged", compiled=True),
)
INFERENCE_FLOOR = replace(INFERENCE_SYSTEMS[0], name="floor")
