"""What ``merge`` did with each chain of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proprelu.merge.chains import Chain
from proprelu.merge.choose import Run, cost_of, why_not_one
from proprelu.merge.costs import Costs
from proprelu.merge.operations import Operation, originals
from proprelu.merge.verify import Comparison
from proprelu.tables import Table, Tabular


@dataclass(frozen=True)
class MergedChain:
    """What a chain of linear operations has become.

    Attributes:
        name: the path of its first layer, and of its last one.
        before: its operations.
        after: what they have become.
        macs_before: the multiplications for one image before.
        macs_after: the multiplications for one image after.
        ms_before: the measured milliseconds before; None if only multiplications were counted.
        ms_after: the measured milliseconds after.
        reason: why it is not one convolution; empty if it is.
    """

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    macs_before: int
    macs_after: int
    ms_before: float | None
    ms_after: float | None
    reason: str


@dataclass(frozen=True)
class MergeReport(Tabular):
    """What ``merge`` did with a model. Prints as a table.

    Attributes:
        model: the model's class name.
        cost: what was minimized, ``"latency"`` or ``"macs"``.
        chains: the chains of linear operations, in execution order.
        left: the convolutions and batch norms that cannot be merged, each with the reason.
        runs: the first and the last node of each group of operations that became one.
        comparison: the errors of the merged model.
    """

    model: str
    cost: str
    chains: tuple[MergedChain, ...]
    left: tuple[tuple[str, str], ...]
    runs: tuple[tuple[str, str], ...]
    comparison: Comparison | None = None

    @property
    def macs_before(self) -> int:
        """The multiplications of all chains for one image, before."""
        return sum(chain.macs_before for chain in self.chains)

    @property
    def macs_after(self) -> int:
        """The multiplications of all chains for one image, after."""
        return sum(chain.macs_after for chain in self.chains)

    @property
    def ms_before(self) -> float:
        """The measured milliseconds of all chains, before."""
        return sum(chain.ms_before or 0.0 for chain in self.chains)

    @property
    def ms_after(self) -> float:
        """The measured milliseconds of all chains, after."""
        return sum(chain.ms_after or 0.0 for chain in self.chains)

    @property
    def title(self) -> str:
        """The totals in one line."""
        before = sum(len(chain.before) for chain in self.chains)
        after = sum(len(chain.after) for chain in self.chains)
        text = f"{self.model}, merged for {self.cost}: {before} linear operations became {after}, "
        text += f"{self.macs_before / 1e6:.1f} million MACs {self.macs_after / 1e6:.1f}"
        if self.cost == "latency":
            text += f", measured {self.ms_before:.2f} ms {self.ms_after:.2f} ms"
        if self.comparison is not None:
            text += f"; largest error {self.comparison.worst:.1e}"
        return text

    def rows(self) -> list[tuple[str, ...]]:
        """The table's rows, one for each chain and for each layer that cannot be merged."""
        rows: list[tuple[str, ...]] = []
        for chain in self.chains:
            macs = (f"{chain.macs_before / 1e6:.2f}", f"{chain.macs_after / 1e6:.2f}")
            ms = tuple(
                "" if value is None else f"{value:.3f}"
                for value in (chain.ms_before, chain.ms_after)
            )
            words = (_words(chain.before), _words(chain.after))
            rows.append((chain.name, *words, chain.reason, *macs, *ms))
        return rows + [(name, "", "", reason, "", "", "", "") for name, reason in self.left]

    def _table(self) -> Table:
        columns = ["chain", "before", "after", "why not one", "MMACs", "after", "ms", "after"]
        rows = self.rows()
        if self.cost != "latency":
            columns, rows = columns[:-2], [row[:-2] for row in rows]
        faint = [index for index, row in enumerate(rows) if row[1] == row[2]]
        return Table(columns, rows, self.title, left=4, faint=faint)


def described(chain: Chain, runs: tuple[Run, ...], costs: Costs) -> MergedChain:
    """Describe what a chain became."""
    before = originals(chain.steps)
    after = [operation for run in runs for operation in run.operations()]
    names = [layer.name for layer in chain.layers()]
    timed = costs.unit == "ms"
    return MergedChain(
        names[0] if names[0] == names[-1] else f"{names[0]} ... {names[-1]}",
        tuple(operation.words for operation in before),
        tuple(operation.words for operation in after),
        _macs(before),
        _macs(after),
        sum(map(costs.of, before)) if timed else None,
        cost_of(runs, costs) if timed else None,
        why_not_one(chain, runs, costs),
    )


def _macs(operations: Sequence[Operation]) -> int:
    return round(sum(operation.multiplications for operation in operations))


def _words(operations: Sequence[str]) -> str:
    return "; ".join(operations)
