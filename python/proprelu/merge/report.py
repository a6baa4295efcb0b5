"""What ``merge`` did with the linear operations of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proprelu.merge.chains import Sum, layers_of
from proprelu.merge.choose import Run, why_apart
from proprelu.merge.costs import Costs
from proprelu.merge.operations import Operation, addition, as_it_is, originals
from proprelu.merge.verify import Comparison
from proprelu.tables import Table, Tabular

_COLUMNS = ("layers", "before", "after", "why not with the next", "MMACs", "after", "ms", "after")


@dataclass(frozen=True)
class MergedRun:
    """Linear operations that became one, or one that was left alone.

    Attributes:
        name: the path of the first layer, and of the last one.
        before: the operations.
        after: what they became.
        macs_before: the multiplications for one image before.
        macs_after: the multiplications for one image after.
        ms_before: the measured milliseconds before; None if only multiplications were counted.
        ms_after: the measured milliseconds after.
        reason: why it is not one with the next operations, which are linear too; empty if none are.
        merged: whether something was merged.
    """

    name: str
    before: tuple[str, ...]
    after: str
    macs_before: int
    macs_after: int
    ms_before: float | None
    ms_after: float | None
    reason: str
    merged: bool


@dataclass(frozen=True)
class MergeReport(Tabular):
    """What ``merge`` did with a model. Prints as a table.

    Attributes:
        model: the model's class name.
        cost: what was minimized, ``"latency"`` or ``"macs"``.
        runs: the linear operations, in execution order.
        left: the convolutions and batch norms that cannot be merged, each with the reason.
        nodes: the first and the last node of each merged run in the graph of the model.
        comparison: the errors of the merged model; None if it was not verified.
        note: why nothing but norms was folded, although operations alone were faster when merged;
            empty otherwise.
    """

    model: str
    cost: str
    runs: tuple[MergedRun, ...]
    left: tuple[tuple[str, str], ...]
    nodes: tuple[tuple[str, str], ...]
    comparison: Comparison | None = None
    note: str = ""

    @property
    def macs_before(self) -> int:
        """The multiplications of all linear operations for one image, before."""
        return sum(run.macs_before for run in self.runs)

    @property
    def macs_after(self) -> int:
        """The multiplications of all linear operations for one image, after."""
        return sum(run.macs_after for run in self.runs)

    @property
    def ms_before(self) -> float:
        """The measured milliseconds of all linear operations, before."""
        return sum(run.ms_before or 0.0 for run in self.runs)

    @property
    def ms_after(self) -> float:
        """The measured milliseconds of all linear operations, after."""
        return sum(run.ms_after or 0.0 for run in self.runs)

    @property
    def title(self) -> str:
        """The totals in one line."""
        before = sum(len(run.before) for run in self.runs)
        text = f"{self.model}, merged for {self.cost}: {before} linear operations -> "
        text += f"{len(self.runs)}, {self.macs_before / 1e6:.1f} million MACs -> "
        text += f"{self.macs_after / 1e6:.1f}"
        if self.cost == "latency":
            text += f", measured {self.ms_before:.2f} ms -> {self.ms_after:.2f}"
        if self.note:
            text += f"; {self.note}"
        if self.comparison is not None:
            text += f"; largest error {self.comparison.worst:.1e}"
        return text

    def rows(self) -> list[tuple[str, ...]]:
        """The table's rows, one for each run and for each layer that cannot be merged."""
        rows: list[tuple[str, ...]] = []
        for run in self.runs:
            macs = (f"{run.macs_before / 1e6:.2f}", f"{run.macs_after / 1e6:.2f}")
            ms = (_milliseconds(run.ms_before), _milliseconds(run.ms_after))
            rows.append((run.name, "; ".join(run.before), run.after, run.reason, *macs, *ms))
        return rows + [(name, "", "", reason, "", "", "", "") for name, reason in self.left]

    def _table(self) -> Table:
        columns, rows = list(_COLUMNS), self.rows()
        if self.cost != "latency":
            columns, rows = columns[:-2], [row[:-2] for row in rows]
        alone = [index for index, run in enumerate(self.runs) if not run.merged]
        alone += range(len(self.runs), len(rows))
        return Table(columns, rows, self.title, left=4, faint=alone)


def described(runs: tuple[Run, ...], costs: Costs) -> Iterator[MergedRun]:
    """Describe what a chain became."""
    for number, run in enumerate(runs):
        steps = run.chain.steps[run.start : run.end]
        first = steps[0]
        reason = why_apart(run, runs[number + 1], costs) if number + 1 < len(runs) else ""
        names = [layer.name for step in steps for layer in layers_of(step)]
        if run.merged is not None:
            yield _run(names, originals(steps), run.merged, reason, costs, merged=True)
        elif isinstance(first, Sum):
            for branch in run.branches:
                yield from described(branch, costs)
            yield _run(names, [addition(first)], addition(first), reason, costs, merged=False)
        else:
            yield _run(names, [as_it_is(first)], as_it_is(first), reason, costs, merged=False)


def _run(
    names: Sequence[str],
    before: Sequence[Operation],
    after: Operation,
    reason: str,
    costs: Costs,
    merged: bool,
) -> MergedRun:
    timed = costs.unit == "ms"
    return MergedRun(
        names[0] if names[0] == names[-1] else f"{names[0]} ... {names[-1]}",
        tuple(operation.words for operation in before),
        after.words,
        round(sum(operation.multiplications for operation in before)),
        round(after.multiplications),
        sum(map(costs.of, before)) if timed else None,
        costs.of(after) if timed else None,
        reason,
        merged,
    )


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
