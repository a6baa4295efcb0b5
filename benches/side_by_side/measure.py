"""The rounds: every system is asked in turn, A B C A B C, and only one runs at a time."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from side_by_side.child import CannotRun, Child
from side_by_side.systems import BENCHES, System
from side_by_side.works import Work

_WARM_STEPS = 1
# Of the memory that is left, the least to start one more system with.
_SPARE_MIB = 1500


@dataclass
class Run:
    """What one system did.

    Attributes:
        times: milliseconds a step, one for each round.
        ready: the child's first answer.
        idle_share: of a processor, while others were asked.
    """

    system: System
    ready: dict[str, Any]
    times: list[float] = field(default_factory=list)
    idle_share: float = 0.0


@dataclass
class Measured:
    """What came of one work.

    Attributes:
        flops: of a step.
        losses: of PyTorch's first steps in float64.
        spread: how far PyTorch is off these, from rounding alone, by precision.
        peaks: operations a second, by precision.
        skipped: why a system was left out, by its name.
    """

    work: Work
    flops: float
    losses: list[float]
    spread: dict[str, list[float]]
    threads: int
    torch: str
    peaks: dict[str, float] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def measure(work: Work, systems: Sequence[System], rounds: int) -> Measured:
    """Start all, then go round."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        floor = stack.enter_context(_floor_child(work, folder))
        ready = floor.ready
        measured = Measured(
            work,
            ready["flops"],
            ready["losses"],
            ready["spread"],
            ready["threads"],
            ready["version"],
        )
        _see_peaks(floor, measured)
        children: list[tuple[Run, Child]] = []
        for system in systems:
            try:
                child = stack.enter_context(_start(system, work, folder))
            except CannotRun as reason:
                measured.skipped[system.name] = str(reason)
                tell(f"{work.name}: without {system.name}: {reason}")
                continue
            children.append((Run(system, child.ready), child))
        for number in range(1, rounds + 1):
            for run, child in children:
                run.times.append(child.ask(_WARM_STEPS, work.steps)["ms"])
            tell(f"{work.name}: round {number} of {rounds}")
        _see_peaks(floor, measured)
        for run, child in children:
            run.idle_share = child.idle_share
            measured.runs.append(run)
    return measured


def tell(message: str) -> None:
    """Progress, on standard error."""
    print(message, file=sys.stderr, flush=True)


def _floor_child(work: Work, folder: Path) -> Child:
    script = BENCHES / "side_by_side" / "torch_child.py"
    command = [sys.executable, str(script), work.name, "floor", str(folder)]
    return Child(command, System("torch", "fp32").full_environment())


def _see_peaks(floor: Child, measured: Measured) -> None:
    """The fastest seen is the peak."""
    for precision, rate in floor.ask(0, 1).items():
        measured.peaks[precision] = max(rate, measured.peaks.get(precision, 0.0))


def _start(system: System, work: Work, folder: Path) -> Child:
    reason = system.missing() or _memory_problem()
    if reason is not None:
        raise CannotRun(reason)
    start = time.monotonic()
    child = Child(system.command(work, folder), system.full_environment())
    tell(f"{work.name}: {system.name} is ready after {time.monotonic() - start:.0f} s")
    return child


def _memory_problem() -> str | None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = (int(line.split()[1]) // 1024 for line in lines if "MemAvailable" in line)
    if available < _SPARE_MIB:
        return f"{available} MiB of memory are left; name fewer systems with --systems"
    return None
