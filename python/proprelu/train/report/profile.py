"""``Profile``: the time of each operation of a training step, and its lower bound."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from proprelu.tables import Table, Tabular
from proprelu.train.report.plot_profile import plot_profile
from proprelu.train.report.profile_row import ProfileRow, row_of_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Profile", "ProfileRow"]

_COLUMNS = ("op", "kernel", "calls", "ms", "floor ms", "of floor", "GFLOP/s", "GB/s")


class Profile(Tabular):
    """The time of a training step by operation: a table as text and in Jupyter, and a figure.

    Args:
        rows: the operations in the order of the program.
        runs: the number of timed steps.
        planned_bytes: memory that the results of the core's operations share.
    """

    def __init__(self, rows: Sequence[ProfileRow], runs: int, planned_bytes: int) -> None:
        self.rows = list(rows)
        self.runs = runs
        self.planned_bytes = planned_bytes

    @classmethod
    def of_report(cls, report: dict[str, Any]) -> Profile:
        """Create a profile from the core's report of a program."""
        rows = [row_of_report(row) for row in report["rows"]]
        return cls(rows, report["runs"], report["planned_bytes"])

    @property
    def milliseconds(self) -> float:
        """The time of one step, without data, metrics and optimizer."""
        return sum(row.milliseconds for row in self.rows)

    def by_kernel(self) -> list[ProfileRow]:
        """One row for each operation and kernel, the slowest first."""
        groups: dict[tuple[str, str], list[ProfileRow]] = {}
        for row in self.rows:
            groups.setdefault((row.op, row.kernel), []).append(row)
        merged = [
            ProfileRow(
                op,
                kernel,
                len(rows),
                sum(row.milliseconds for row in rows),
                sum(row.floor for row in rows),
                sum(row.flops for row in rows),
                sum(row.bytes for row in rows),
            )
            for (op, kernel), rows in groups.items()
        ]
        return sorted(merged, key=lambda row: -row.milliseconds)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the time of each operation and kernel, with its floor; needs the extra ``plot``.

        Args:
            path: the file to save the figure to (``.png``, ``.svg``, ``.pdf``), if any.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: no step was timed.
        """
        if not self.runs:
            raise ValueError("there is nothing to draw: no step was timed; call fit first")
        return plot_profile(self.by_kernel(), path)

    def __repr__(self) -> str:
        return f"<Profile: {self.milliseconds:.2f} ms in {len(self.rows)} operations>"

    def _table(self) -> Table:
        title = (
            f"{self.milliseconds:.2f} ms a step in {len(self.rows)} operations, mean of "
            f"{self.runs} steps; {self.planned_bytes / 1e6:.1f} MB planned memory"
        )
        return Table(_COLUMNS, [_cells(row) for row in self.by_kernel()], title, left=2)


def _cells(row: ProfileRow) -> list[str]:
    seconds = row.milliseconds / 1e3
    per_second = [
        f"{x / seconds / 1e9:.1f}" if x and seconds else "" for x in (row.flops, row.bytes)
    ]
    share = f"{row.floor / row.milliseconds:.0%}" if row.milliseconds else ""
    times = [f"{row.milliseconds:.3f}", f"{row.floor:.3f}", share]
    return [row.op, row.kernel, str(row.calls), *times, *per_second]
