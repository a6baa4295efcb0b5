"""``Profile``: the time of each operation of a training step, and its lower bound."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from proprelu.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Profile", "ProfileRow"]

_COLUMNS = ("op", "kernel", "calls", "ms", "floor ms", "of floor", "GFLOP/s", "GB/s")
_SIZE = 1024
_COPIED = 1 << 24
_TRIES = 5


@dataclass(frozen=True)
class ProfileRow:
    """One operation of the program, or all operations that one kernel computes.

    Attributes:
        op: the operation.
        kernel: ``direct``, ``winograd``, ``depthwise``, ``fused``, ``torch``, or ``kept`` for a
            result that the optimizer keeps up to date and that takes no time in a step.
        calls: the number of operations.
        milliseconds: the time in one step, the mean of the steps so far.
        floor: a lower bound of the time in milliseconds: the operations at the speed of a large
            matrix product of torch, or the bytes at the bandwidth of memory, whichever is longer.
            Data that are still in a cache can be faster.
        flops: multiplications and additions of convolutions and matrix products.
        bytes: the size of all inputs and outputs.
        shapes: types of the inputs and outputs; empty for several operations.
    """

    op: str
    kernel: str
    calls: int
    milliseconds: float
    floor: float
    flops: int
    bytes: int
    shapes: str = ""


class Profile:
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
        rows = [_row(row) for row in report["rows"]]
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
        """
        from proprelu.train.report.plot_profile import plot_profile

        return plot_profile(self, path)

    def __str__(self) -> str:
        return str(self._table())

    def __rich__(self) -> Table:
        return self._table()

    def _repr_html_(self) -> str:
        return self._table().to_html()

    def __repr__(self) -> str:
        return f"<Profile: {self.milliseconds:.2f} ms in {len(self.rows)} operations>"

    def _table(self) -> Table:
        title = (
            f"{self.milliseconds:.2f} ms a step in {len(self.rows)} operations, mean of "
            f"{self.runs} steps; {self.planned_bytes / 1e6:.1f} MB planned memory"
        )
        return Table(_COLUMNS, [_cells(row) for row in self.by_kernel()], title, left=2)


def _row(row: dict[str, Any]) -> ProfileRow:
    dtype = torch.bfloat16 if "bfloat16" in row["shapes"] else torch.float32
    arithmetic = row["flops"] / _flops(dtype, torch.get_num_threads()) if row["flops"] else 0.0
    memory = 0.0 if row["kernel"] == "kept" else row["bytes"] / _bandwidth(torch.get_num_threads())
    return ProfileRow(
        row["op"],
        row["kernel"],
        1,
        1e3 * row["seconds"],
        1e3 * max(arithmetic, memory),
        row["flops"],
        row["bytes"],
        row["shapes"],
    )


@functools.cache
def _flops(dtype: torch.dtype, threads: int) -> float:
    """Operations per second of a matrix product with this number of threads."""
    a, b = (torch.ones(_SIZE, _SIZE, dtype=dtype) for _ in range(2))
    return 2 * _SIZE**3 / _fastest(lambda: a @ b)


@functools.cache
def _bandwidth(threads: int) -> float:
    """Bytes per second of a copy that is larger than the caches."""
    source, target = torch.ones(_COPIED), torch.empty(_COPIED)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source))


def _fastest(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _cells(row: ProfileRow) -> list[str]:
    seconds = row.milliseconds / 1e3
    per_second = [
        f"{x / seconds / 1e9:.1f}" if x and seconds else "" for x in (row.flops, row.bytes)
    ]
    share = f"{row.floor / row.milliseconds:.0%}" if row.milliseconds else ""
    times = [f"{row.milliseconds:.3f}", f"{row.floor:.3f}", share]
    return [row.op, row.kernel, str(row.calls), *times, *per_second]
