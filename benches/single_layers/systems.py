"""Who computes a layer: ours and the plain way, each in both layouts and precisions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A way to compute a layer.

    Attributes:
        kind: ``"proprelu"`` or ``"torch"``.
        precision: ``"fp32"``, or ``"bf16"``: a bfloat16 input, under autocast.
    """

    kind: str
    channels_last: bool
    precision: str

    @property
    def is_ours(self) -> bool:
        return self.kind == "proprelu"

    @property
    def name(self) -> str:
        layout = "channels_last" if self.channels_last else "NCHW"
        return f"{self.kind} {layout} {self.precision}"


SYSTEMS = tuple(
    System(kind, channels_last, precision)
    for precision in ("fp32", "bf16")
    for kind in ("torch", "proprelu")
    for channels_last in (False, True)
)


def system_named(name: str) -> System:
    return next(system for system in SYSTEMS if system.name == name)
