"""The rounds: systems are asked in turn, A B C A B C, and only one runs at a time.

Each is a process with memory of its own on the GPU. Where that does not hold all of them, they go
round in groups, one group after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from side_by_side.child import CannotRun, Child
from side_by_side.measure import tell

from gpu.start import Limit, started
from gpu.systems import GpuSystem
from gpu.works import GpuWork

# What a child may take to get ready in a dry run.
_DRY_SECONDS = 60.0


@dataclass
class Run:
    """What one system did.

    Attributes:
        times: milliseconds a step, one for each round.
        ready: the child's first answer.
    """

    system: GpuSystem
    ready: dict[str, Any]
    times: list[float] = field(default_factory=list)


@dataclass
class Measured:
    """What came of one work.

    Attributes:
        floor: what the floor's child said: machine, versions, cost, peaks, losses, spread.
        skipped: why a system was left out, by its name.
    """

    work: GpuWork
    floor: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


class Rounds:
    """Measures systems on one work.

    Args:
        rounds: turns of each system.
        limit: no child is started and no round begun that would go beyond it.
        last: whether no other work is to be measured within the limit.
        dry: on the CPU.
    """

    def __init__(self, work: GpuWork, rounds: int, limit: Limit, last: bool, dry: bool) -> None:
        self._work = work
        self._last = last
        self._rounds = rounds
        self._limit = limit
        self._dry = dry

    def of(self, systems: Sequence[GpuSystem]) -> Measured:
        """All groups.

        Raises:
            CannotRun: there is no GPU, or the network does not train on it.
        """
        with self._start("floor") as floor:
            measured = Measured(self._work, floor.ready)
            waiting = list(systems)
            while waiting:
                with ExitStack() as stack:
                    group, waiting = self._group(waiting, floor, measured, stack)
                    self._go_round(group, measured)
        return measured

    def _group(
        self,
        waiting: Sequence[GpuSystem],
        floor: Child,
        measured: Measured,
        stack: ExitStack,
    ) -> tuple[list[tuple[Run, Child]], list[GpuSystem]]:
        """Those that the memory holds at once, started; and the rest."""
        group: list[tuple[Run, Child]] = []
        for place, system in enumerate(waiting):
            if group and not self._has_room(floor):
                return group, list(waiting[place:])
            try:
                is_last = self._last and system is waiting[-1]
                child = stack.enter_context(self._start(system.name, is_last))
            except CannotRun as reason:
                self._leave_out(system, reason, measured)
                continue
            group.append((Run(system, child.ready), child))
        return group, []

    def _go_round(self, group: list[tuple[Run, Child]], measured: Measured) -> None:
        names = ", ".join(run.system.name for run, _ in group)
        tell(f"{self._work.name}: in turn: {names or 'nobody'}")
        for number in range(1, self._rounds + 1):
            if number > 1 and self._limit.left() < 0:
                tell(f"{self._work.name}: no time for more than {number - 1} rounds")
                break
            for run, child in list(group):
                try:
                    run.times.append(child.ask(0, self._work.steps)["ms"])
                except (CannotRun, OSError) as reason:
                    group.remove((run, child))
                    self._leave_out(run.system, reason, measured)
        measured.runs += [run for run, _ in group]

    def _start(self, what: str, last: bool = False) -> Child:
        seconds = self._limit.for_starting(last)
        if self._dry:
            seconds = min(seconds, _DRY_SECONDS)
        child = started([what, self._work.name, *["dry"] * self._dry], seconds)
        tell(f"{self._work.name}: {what} is ready")
        return child

    def _has_room(self, floor: Child) -> bool:
        free = floor.ask(0, 0)["free_gb"]
        return free is None or free >= self._work.room_gb

    def _leave_out(self, system: GpuSystem, reason: Exception, measured: Measured) -> None:
        measured.skipped[system.name] = str(reason)
        tell(f"{self._work.name}: without {system.name}: {reason}")
