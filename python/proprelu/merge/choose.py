"""Chooses what a chain becomes: the cheapest whole, by dynamic programming."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from proprelu.merge.chains import Chain, Step, Sum, nodes_of
from proprelu.merge.costs import Costs
from proprelu.merge.layers import Layer
from proprelu.merge.operations import (
    MOST_MULTIPLICATIONS,
    Operation,
    addition,
    as_it_is,
    as_one,
    originals,
)


@dataclass(frozen=True, eq=False)
class Run:
    """Some steps of a chain, and what they become.

    Attributes:
        chain: the chain.
        start: the number of the first step.
        end: the number after the last step.
        merged: the convolution that they become; None if a single step is left alone.
        branches: what the branches of a sum that is left alone become.
    """

    chain: Chain
    start: int
    end: int
    merged: Operation | None
    branches: tuple[tuple[Run, ...], ...] = ()

    def operations(self) -> Iterator[Operation]:
        """What runs in place of the steps."""
        if self.merged is not None:
            yield self.merged
            return
        step = self.chain.steps[self.start]
        if isinstance(step, Layer):
            yield as_it_is(step)
            return
        for branch in self.branches:
            for run in branch:
                yield from run.operations()
        yield addition(step)


def candidates(chain: Chain) -> Iterator[Operation]:
    """All operations that a chain may consist of, whatever is chosen."""
    for start, end in _ranges(chain):
        if (found := as_candidate(chain, start, end)) is not None:
            yield found
    yield from originals(chain.steps)
    for step in chain.steps:
        if isinstance(step, Sum):
            for branch in step.branches:
                yield from candidates(branch)


def choose(chain: Chain, costs: Costs) -> tuple[Run, ...]:
    """The runs that a chain is divided into so that it costs least."""
    best: list[tuple[float, tuple[Run, ...]]] = [(0.0, ())]
    for end in range(1, len(chain.steps) + 1):
        options = []
        for start in range(end):
            cost, before = best[start]
            for run in _runs(chain, start, end, costs):
                options.append((cost + cost_of((run,), costs), (*before, run)))
        best.append(min(options, key=_rank))
    return best[-1][1]


def fold(chain: Chain) -> tuple[Run, ...]:
    """The runs of a chain in which convolutions take in the norms after them, and nothing else."""
    runs: list[Run] = []
    steps = chain.steps
    while (start := runs[-1].end if runs else 0) < len(steps):
        step, end = steps[start], start + 1
        branches: tuple[tuple[Run, ...], ...] = ()
        if isinstance(step, Sum):
            branches = tuple(map(fold, step.branches))
        elif not step.is_norm:
            while end < len(steps) and _is_norm(steps[end]):
                end += 1
        merged = as_one(chain, start, end) if end > start + 1 else None
        runs.append(Run(chain, start, end if merged else start + 1, merged, branches))
    return tuple(runs)


def _is_norm(step: Step) -> bool:
    return isinstance(step, Layer) and step.is_norm


def _rank(option: tuple[float, tuple[Run, ...]]) -> tuple[float, int, int]:
    """The cost first; of two that cost the same, fewer operations and no correction."""
    cost, runs = option
    merged = [run.merged.geometry for run in runs if run.merged is not None]
    return cost, len(runs), sum(each.border or any(each.frame) for each in merged)


def as_recorded(chain: Chain, nodes: Collection[tuple[str, str]]) -> tuple[Run, ...]:
    """The runs of a chain whose first and last nodes are given; other steps are left alone."""
    runs: list[Run] = []
    start = 0
    while start < len(chain.steps):
        first = next(nodes_of(chain.steps[start])).name
        ends = range(start + 1, len(chain.steps) + 1)
        found = [end for end in ends if (first, chain.steps[end - 1].node.name) in nodes]
        end = found[-1] if found else start + 1
        merged = as_one(chain, start, end) if found else None
        step = chain.steps[start]
        branches: tuple[tuple[Run, ...], ...] = ()
        if merged is None and isinstance(step, Sum):
            branches = tuple(as_recorded(branch, nodes) for branch in step.branches)
        runs.append(Run(chain, start, end if merged else start + 1, merged, branches))
        start = runs[-1].end
    return tuple(runs)


def cost_of(runs: tuple[Run, ...], costs: Costs) -> float:
    return sum(costs.of(operation) for run in runs for operation in run.operations())


def why_apart(run: Run, after: Run, costs: Costs) -> str:
    """Why two runs that follow each other are not one."""
    whole = as_one(run.chain, run.start, after.end)
    if whole is None:
        return "they cannot be one convolution"
    now = [operation for each in (run, after) for operation in each.operations()]
    macs = sum(operation.multiplications for operation in now)
    times = f"one convolution would have {whole.multiplications / macs:.2f} times the MACs"
    if costs.unit != "ms" or not _is_considered(run.chain, run.start, after.end, whole):
        return times
    return f"{costs.of(whole):.3f} ms instead of {sum(map(costs.of, now)):.3f} ms"


def _runs(chain: Chain, start: int, end: int, costs: Costs) -> Iterator[Run]:
    step = chain.steps[start]
    if end == start + 1 and isinstance(step, Layer):
        yield Run(chain, start, end, None)
    elif end == start + 1 and isinstance(step, Sum):
        branches = tuple(choose(branch, costs) for branch in step.branches)
        yield Run(chain, start, end, None, branches)
    merged = as_candidate(chain, start, end)
    if merged is not None:
        yield Run(chain, start, end, merged)


def _ranges(chain: Chain) -> Iterator[tuple[int, int]]:
    count = len(chain.steps)
    return ((start, end) for end in range(1, count + 1) for start in range(end))


def as_candidate(chain: Chain, start: int, end: int) -> Operation | None:
    """Some steps as one convolution; None if that is no improvement whatever is measured."""
    steps = chain.steps[start:end]
    if len(steps) == 1 and isinstance(steps[0], Layer):
        return None
    merged = as_one(chain, start, end)
    worth_it = merged is not None and _is_considered(chain, start, end, merged)
    return merged if worth_it else None


def _is_considered(chain: Chain, start: int, end: int, merged: Operation) -> bool:
    parts = sum(each.multiplications for each in originals(chain.steps[start:end]))
    return merged.multiplications <= MOST_MULTIPLICATIONS * parts
