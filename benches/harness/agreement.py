"""Whether all systems compute the same."""

from __future__ import annotations

from collections.abc import Sequence

from harness.rounds import Measured

# Relative distance from the reference that is always allowed: float32 adds in another order,
# bfloat16 rounds.
_TOLERANCES = {"fp32": 1e-3, "bf16": 3e-2}
# The allowed multiple of PyTorch's own distance, if that is more.
_SPREADS = 3


def disagreements(measured: Measured) -> list[str]:
    """Losses of the first steps that are not PyTorch's in float64, by system and step."""
    expected, spreads = measured.floor["losses"], measured.floor["spread"]
    return [
        f"{run.system.name}, {line}"
        for run in measured.runs
        for line in wrong_losses(
            run.ready["losses"],
            expected,
            spreads[run.system.precision],
            _TOLERANCES[run.system.precision],
        )
    ]


def wrong_losses(
    losses: Sequence[float], expected: Sequence[float], spread: Sequence[float], tolerance: float
) -> list[str]:
    """Steps with a loss further from the reference than rounding explains."""
    wrong = []
    for step, (loss, right, own) in enumerate(zip(losses, expected, spread, strict=True), 1):
        off = abs(loss - right) / abs(right)
        allowed = max(tolerance, _SPREADS * own)
        if not off <= allowed:
            wrong.append(
                f"step {step}: {loss:.5f}, but the reference has {right:.5f}: "
                f"off by {100 * off:.2g}%, and {100 * allowed:.2g}% are allowed"
            )
    return wrong
