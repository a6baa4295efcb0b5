"""The rounds: systems run in turn, A B C A B C, and only one at a time.

Each is a process with its own memory. Where the memory of a GPU does not hold all of them, they run
in groups, one group after the other.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from works.steps import Work

from harness.child import CannotRun, Child
from harness.cost import Cost
from harness.system import System

_WARM_STEPS = 1
# Seconds that are kept for the rounds.
_FOR_ROUNDS = 60.0


@dataclass
class Run:
    """The results of one system.

    Attributes:
        ready: first answer of the child.
        times: milliseconds a step, one for each round.
        idle_share: share of a processor that it used while others ran.
    """

    system: System
    ready: dict[str, Any]
    times: list[float] = field(default_factory=list)
    idle_share: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def memory(self) -> dict[str, float]:
        """Megabytes in training: "peak", and others on a GPU."""
        return self.ready.get("memory") or {}


@dataclass
class Measured:
    """The results of one work.

    Attributes:
        floor: first answer of the floor's child; its "peaks" are the highest rates seen: operations
            a second by precision, and "bytes" a second.
        skipped: why a system was left out, by its name.
    """

    work: Work
    floor: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def best_peer(self, precision: str | None = None, kind: str | None = None) -> Run | None:
        """The fastest system that is not ours, of a precision or kind if one is given."""
        peers = [
            run
            for run in self.runs
            if not run.system.is_ours
            and precision in (None, run.system.precision)
            and kind in (None, run.system.kind)
        ]
        return min(peers, key=lambda run: run.median, default=None)

    def floor_ms(self, precision: str) -> float:
        """The shortest time that a step could take."""
        return Cost(**self.floor["cost"]).milliseconds(precision, self.floor["peaks"])

    def keep_peaks(self, peaks: dict[str, float]) -> None:
        """Keep the highest rates."""
        seen = self.floor.setdefault("peaks", {})
        seen.update({name: max(rate, seen.get(name, 0.0)) for name, rate in peaks.items()})


class Limit:
    """The time that a command may take; by default any."""

    def __init__(self, minutes: float | None = None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def left(self) -> float:
        """Seconds."""
        return float("inf") if self._end is None else self._end - time.monotonic()

    def for_child(self) -> int:
        """All seconds that are left, as a child takes them: 0 for any.

        Raises:
            CannotRun: there is no time left.
        """
        return self._whole(self.left())

    def for_starting(self, last: bool) -> int:
        """Time to get ready: half of what is left, or all for the last system.

        Raises:
            CannotRun: there is no time left.
        """
        seconds = self.left() - _FOR_ROUNDS
        return self._whole(seconds if last else seconds / 2)

    def _whole(self, seconds: float) -> int:
        if self._end is None:
            return 0
        if seconds < 1:
            raise CannotRun("no time was left to start it: see --minutes, --only and --systems")
        return int(seconds)


@dataclass
class Rounds:
    """Measures systems.

    Attributes:
        floor: the pseudo-system whose child computes the floor and the reference losses.
        rounds: turns of each system.
        device: "cpu" or "cuda".
        limit: no child is started, and no round begun, after it.
    """

    floor: System
    rounds: int
    device: str = "cpu"
    limit: Limit = field(default_factory=Limit)

    def measure(self, work: Work, systems: Sequence[System], last: bool = True) -> Measured:
        """Measure all systems on one work.

        Args:
            last: no other work follows, so that all remaining time may be used.

        Raises:
            CannotRun: there is no GPU, or the network does not train on it.
        """
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            floor = stack.enter_context(self._start(self.floor, work, folder, last=False))
            measured = Measured(work, floor.ready)
            measured.keep_peaks(floor.ask(0, 1)["peaks"])
            waiting = list(systems)
            while waiting:
                with ExitStack() as group_stack:
                    group: list[tuple[Run, Child]] = []
                    while waiting and (not group or _has_room(floor, work)):
                        system = waiting.pop(0)
                        is_last = last and not waiting
                        try:
                            child = self._start(system, work, folder, is_last)
                        except CannotRun as reason:
                            _leave_out(measured, system, reason)
                            continue
                        group.append((Run(system, child.ready), group_stack.enter_context(child)))
                    self._take_turns(group, measured)
            with suppress(CannotRun, OSError):
                measured.keep_peaks(floor.ask(0, 1)["peaks"])
        return measured

    def _start(self, system: System, work: Work, folder: str, last: bool) -> Child:
        begin = time.monotonic()
        seconds = self.limit.for_starting(last)
        child = system.start(self.device, seconds, work=asdict(work), folder=folder)
        progress(f"{work.name}: {system.name} is ready after {time.monotonic() - begin:.0f} s")
        return child

    def _take_turns(self, group: list[tuple[Run, Child]], measured: Measured) -> None:
        work = measured.work
        for number in range(1, self.rounds + 1):
            if number > 1 and self.limit.left() < 0:
                progress(f"{work.name}: no time for more than {number - 1} rounds")
                break
            for run, child in list(group):
                try:
                    run.times.append(child.ask(_WARM_STEPS, work.steps)["ms"])
                except (CannotRun, OSError) as reason:
                    group.remove((run, child))
                    _leave_out(measured, run.system, reason)
            progress(f"{work.name}: round {number} of {self.rounds}")
        for run, child in group:
            run.idle_share = child.idle_share
            measured.runs.append(run)


def progress(message: str) -> None:
    """Print on standard error."""
    print(message, file=sys.stderr, flush=True)


def _has_room(floor: Child, work: Work) -> bool:
    free = floor.ask(0, 0)["free_gb"]
    return free is None or free >= work.room_gb


def _leave_out(measured: Measured, system: System, reason: Exception) -> None:
    measured.skipped[system.name] = str(reason)
    progress(f"{measured.work.name}: without {system.name}: {reason}")
