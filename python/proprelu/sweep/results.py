"""``SweepResults``: the runs of a sweep, and what they show."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proprelu.atomic import write_text
from proprelu.checks import as_fraction
from proprelu.sweep.content import Content, reading
from proprelu.sweep.costs import Costs
from proprelu.sweep.statistics import Difference
from proprelu.sweep.summary import Summary, default_target, measure_of, summaries
from proprelu.sweep.training import Run
from proprelu.sweep.variants import Variant
from proprelu.sweep.verdict import Verdict, verdict
from proprelu.tables import Table, Tabular

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = (
    "ratio",
    "ReLUs",
    "seeds",
    "{}",
    "deviation",
    "difference to 1:1",
    "95% interval",
    "gap",
    "epochs to {}",
    "images/s",
    "million MACs",
    "parameters",
    "merged, ms",
)


@dataclass(frozen=True)
class SweepResults(Tabular):
    """The results of a sweep. Prints as a table.

    Attributes:
        settings: what is the same for all runs, and the versions that they ran with.
        variants: what is compared, 1:1 first.
        runs: the finished runs, by variant and seed.
        costs: what each variant costs in use, merged, as far as that is measured.
        target: what ``epochs_to_target`` counts to; by default what all runs of 1:1 reach.
    """

    settings: Mapping[str, Any]
    variants: tuple[Variant, ...]
    runs: tuple[Run, ...]
    costs: Mapping[Variant, Costs]
    target: float | None = None

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> SweepResults:
        """Read the results in a file, also while a sweep writes to it.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no file of results.
        """
        with reading(Path(file)) as store:
            return cls.of(store)

    @classmethod
    def of(cls, store: Content, target: float | None = None) -> SweepResults:
        """The results in a store."""
        variants, runs = tuple(store.variants), tuple(store.runs())
        if target is None and runs:
            target = default_target(variants, runs)
        return cls(store.settings, variants, runs, store.costs, target)

    @property
    def measure(self) -> str:
        """What is compared: ``"top1"``, or ``"loss"`` where there are no classes."""
        return measure_of(self.runs)

    @cached_property
    def summaries(self) -> list[Summary]:
        """The statistics of each variant that has a finished run, 1:1 first."""
        if not self.runs:
            return []
        return summaries(self.variants, self.runs, self.costs, self.target)

    def best(self, tolerance: float = 0.0) -> Verdict:
        """The ratio to take, or 1:1, with the evidence for it.

        A ratio is better if the interval of its difference to 1:1 is above zero, where the
        intervals are so wide that all of them together hold with 95%. Otherwise, with a tolerance,
        the fastest merged network is taken whose interval does not reach below it.

        Args:
            tolerance: the loss of accuracy that is accepted for speed, a fraction of 1: 0.005 for
                half a point. Where losses are compared, how much that may rise.

        Raises:
            ValueError: no run is finished.
        """
        tolerance = as_fraction("tolerance", tolerance)
        if not self.summaries or not self.summaries[0].variant.is_baseline:
            raise ValueError("there is nothing to compare yet: no run of 1:1 is finished")
        return verdict(self.summaries, tolerance, self.measure)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV, atomically.

        Raises:
            OSError: the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        table = self._table()
        writer.writerows([table.columns, *table.rows])
        write_text(Path(path), text.getvalue())

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw accuracy against ratio, and accuracy against latency; needs the extra ``plot``.

        Args:
            path: the file to save the figure to (``.png``, ``.svg``, ``.pdf``), if any.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: no run is finished.
        """
        from proprelu.sweep.plot import plot_results

        return plot_results(self, path)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a page with all figures, the table and every setting, which needs no network.

        Args:
            path: the file, ``.html``.

        Raises:
            ImportError: Altair is not installed.
            OSError: the file cannot be written.
            ValueError: no run is finished.
        """
        from proprelu.sweep.report import write_report

        write_report(self, path)

    def __repr__(self) -> str:
        return f"SweepResults({len(self.variants)} variants, {len(self.runs)} runs)"

    def _table(self) -> Table:
        return self.table()

    def table(self) -> Table:
        """The statistics of each variant, as text."""
        measure = self.measure
        titles = {"top1": "accuracy", "loss": "loss"}
        target = "-" if self.target is None else _value(self.target, measure)
        columns = [title.format(titles[measure] if title == "{}" else target) for title in _COLUMNS]
        rows = [_row(summary, measure) for summary in self.summaries]
        notes = [
            f"{summary.variant.name}, {note}"
            for summary in self.summaries
            for note in summary.notes
        ]
        shown = [i for i, _ in enumerate(columns) if i == 0 or any(row[i] != "-" for row in rows)]
        return Table(
            [columns[i] for i in shown],
            [[row[i] for i in shown] for row in rows],
            self.title,
            left=1,
            notes=notes if rows else ["no run is finished yet"],
        )

    @property
    def title(self) -> str:
        """What was compared, in one line."""
        model, epochs = self.settings.get("model", "no model"), self.settings.get("epochs", 0)
        count = len(self.runs)
        long = f"{epochs} epoch{'s' * (epochs != 1)}"
        return f"{model}, {long}, {count} run{'s' * (count != 1)}"


def _row(summary: Summary, measure: str) -> list[str]:
    costs = summary.costs
    return [
        summary.variant.name,
        str(summary.variant.relus),
        str(len(summary.seeds)),
        _value(summary.mean, measure),
        "-" if summary.deviation is None else _points(summary.deviation, measure, sign=False),
        "-" if summary.difference is None else _points(summary.difference.mean, measure),
        _interval(summary.difference, measure),
        "-" if summary.gap is None else _points(summary.gap, measure),
        "-" if summary.epochs_to_target is None else f"{summary.epochs_to_target:g}",
        "-" if summary.images_per_s is None else f"{summary.images_per_s:,.0f}",
        "-" if costs is None or costs.macs is None else f"{costs.macs / 1e6:.1f}",
        "-" if costs is None else f"{costs.parameters:,}",
        "-" if costs is None else f"{costs.milliseconds:.2f}",
    ]


def _interval(difference: Difference | None, measure: str) -> str:
    if difference is None or difference.low is None or difference.high is None:
        return "-"
    return f"{_points(difference.low, measure)} to {_points(difference.high, measure)}"


def _value(value: float, measure: str) -> str:
    return f"{value:.4f}" if measure == "loss" else f"{100 * value:.2f}%"


def _points(value: float, measure: str, sign: bool = True) -> str:
    form = ("+" if sign else "") + (".4f" if measure == "loss" else ".2f")
    return f"{value if measure == 'loss' else 100 * value:{form}}"
