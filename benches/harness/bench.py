"""A benchmark of works by systems: measures one work after the other, reports and stores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from works.steps import Work

from harness.agreement import disagreements
from harness.child import CannotRun
from harness.cost import Cost
from harness.report import print_report
from harness.results import Report, Row, keep, report
from harness.rounds import Measured, Rounds
from harness.system import System

STEP_COLUMNS = ("ms a step", "from-to", "images/s", "x best peer", "floor ms", "of floor")


@dataclass
class Outcome:
    """The results of all works.

    Attributes:
        rows: of this run, or with `by_system` of the whole file.
        failed: whether systems disagree, or none ran.
    """

    measured: list[Measured] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    failed: bool = False

    def about(self, name: str) -> list[Row]:
        """The rows of a work, or of the last one if it was not measured."""
        works = [row["work"] for row in self.rows]
        work = name if name in works or not works else works[-1]
        return [row for row in self.rows if row["work"] == work]


@dataclass
class Bench:
    """How works are measured and reported.

    Attributes:
        columns: of the table.
        path: the file for a report, or None.
        by_precision: compare with peers of the same precision only.
        by_system: the file collects systems of several runs; see `harness/results.py`.
        checked: what has to agree, "losses" or "results".
    """

    rounds: Rounds
    columns: Sequence[str]
    path: Callable[[Report], Path | None]
    by_precision: bool = False
    by_system: bool = False
    checked: str = "losses"

    def run(self, works: Sequence[Work], systems: Sequence[System]) -> Outcome:
        """Measure all works; those that cannot run are left out with a message."""
        outcome = Outcome()
        for work in works:
            able = [system for system in systems if system.trains(work)]
            try:
                measured = self.rounds.measure(work, able, last=work is works[-1])
            except CannotRun as reason:
                print(f"without {work.name}: {reason}")
                continue
            outcome.measured.append(measured)
            new = report(measured, self.by_precision)
            self._print(measured, new["rows"])
            path = self.path(new)
            kept = new if path is None else keep(path, new, self.by_system)
            if self.by_system and path is not None:
                outcome.rows = kept["rows"]
            else:
                outcome.rows += new["rows"]
            outcome.failed = outcome.failed or bool(disagreements(measured))
        outcome.failed = outcome.failed or not outcome.rows
        return outcome

    def _print(self, measured: Measured, rows: Sequence[Row]) -> None:
        work, cost = measured.work, Cost(**measured.floor["cost"])
        title = f"{work.title}, {cost.flops / 1e9:.1f} GFLOP"
        if cost.values:
            title += f" and in bf16 {cost.bytes('bf16') / 1e9:.2f} GB"
        checked = self.checked
        if checked == "losses":
            checked += f" of the first {work.checked_steps} steps"
        print_report(measured, rows, f"{title} a step", self.columns, checked)
