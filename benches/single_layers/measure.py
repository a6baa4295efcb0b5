"""The rounds: every system of a work is asked in turn; only one runs at a time."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from side_by_side.child import Child
from side_by_side.systems import TUNED_GLIBC

from single_layers.systems import System
from single_layers.works import Work

_SCRIPT = Path(__file__).with_name("child.py")
_TOLERANCES = {"fp32": 1e-3, "bf16": 3e-2}


@dataclass
class Run:
    """What one system did: milliseconds a step by round, and its first answer."""

    system: System
    ready: dict[str, Any]
    times: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.times)


@dataclass
class Measured:
    """What came of one work; the peaks are operations a second, by precision."""

    work: Work
    peaks: dict[str, float]
    threads: int
    runs: list[Run]

    def best_peer(self, precision: str) -> Run | None:
        """The fastest of PyTorch's layouts."""
        peers = [r for r in self.runs if not r.system.is_ours and r.system.precision == precision]
        return min(peers, key=lambda run: run.median, default=None)

    def disagreements(self) -> list[str]:
        """Systems whose results are not those of the first that is plain PyTorch in fp32."""
        plain = [run for run in self.runs if not run.system.is_ours]
        wrong = []
        for run in self.runs if plain else []:
            tolerance = _TOLERANCES[run.system.precision]
            expected, found = plain[0].ready["results"], run.ready["results"]
            for number, (a, b) in enumerate(zip(expected, found, strict=True)):
                if not abs(a - b) <= tolerance * abs(a):
                    wrong.append(f"{run.system.name}: result {number} is {b:.5g}, not {a:.5g}")
        return wrong


def measure(work: Work, systems: Sequence[System], rounds: int) -> Measured:
    """Start all, then go round."""
    with ExitStack() as stack:
        floor = stack.enter_context(_start(work, "floor"))
        peaks = floor.ask(0, 1)
        children = [(s, stack.enter_context(_start(work, s.name))) for s in systems]
        runs = [Run(system, child.ready) for system, child in children]
        for number in range(1, rounds + 1):
            for run, (_, child) in zip(runs, children, strict=True):
                run.times.append(child.ask(1, work.steps)["ms"])
            print(f"{work.name}: round {number} of {rounds}", file=sys.stderr, flush=True)
        again = floor.ask(0, 1)
        peaks = {name: max(rate, again[name]) for name, rate in peaks.items()}
        return Measured(work, peaks, floor.ready["threads"], runs)


def _start(work: Work, name: str) -> Child:
    # A layer of some milliseconds would be measured by its page faults, which come and go with the
    # order of allocations.
    environment = {**os.environ, **TUNED_GLIBC}
    return Child([sys.executable, str(_SCRIPT), work.name, name], environment)
