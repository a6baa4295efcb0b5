"""What a network could become if activations were dropped, as stretches between places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import fx, nn

from proprelu.graph import Traced
from proprelu.merge.chains import Chain, Step, Sum, find_chains, layers_of, nodes_of
from proprelu.merge.choose import as_candidate, candidates
from proprelu.merge.costs import costs_by_name
from proprelu.merge.evaluation import SITES, evaluation_graph
from proprelu.merge.modules import form_of
from proprelu.merge.operations import Operation, addition, as_it_is


@dataclass(frozen=True)
class Stretch:
    """An operation of a network, or several which would become one.

    Attributes:
        start: the place before it.
        end: the place after it.
        cost: in milliseconds or multiplications.
        sites: the numbers of the sites inside, whose activations would have to be dropped.
        name: the paths of its first and last layer.
    """

    start: int
    end: int
    cost: float
    sites: tuple[int, ...]
    name: str


class Stretches(NamedTuple):
    """All stretches of a network.

    Attributes:
        stretches: every way from place 0 to ``last`` is something that the network can become.
        last: the last place.
        unit: of the costs.
    """

    stretches: list[Stretch]
    last: int
    unit: str


def find_stretches(
    model: nn.Module, example_input: object, cost: str, prepare: Callable[[Traced], None]
) -> Stretches:
    """Find what a model can become by dropping activations and merging.

    Args:
        model: a model in evaluation mode; it is not changed.
        example_input: see ``merge``.
        cost: see ``merge``.
        prepare: drops activations in a trace of the model, and numbers their nodes as
            ``node.meta["site"]``.
    """
    net = evaluation_graph(model, example_input, prepare)
    chains = find_chains(net).chains
    costs = costs_by_name(cost, form_of(net, example_input))
    costs.prepare(operation for chain in chains for operation in candidates(chain))
    layout = _Layout(costs.of)
    for chain in chains:
        layout.add(chain)
    return Stretches(layout.stretches, layout.last, costs.unit)


class _Layout:
    """Puts chains one after the other, and so the branches of a sum, as their costs add up."""

    def __init__(self, cost: Callable[[Operation], float]) -> None:
        self.cost, self.last = cost, 0
        self.stretches: list[Stretch] = []

    def add(self, chain: Chain) -> None:
        places = [self.last]
        for step in chain.steps:
            for branch in step.branches if isinstance(step, Sum) else ():
                self.add(branch)
            operation = addition(step) if isinstance(step, Sum) else as_it_is(step)
            self._put(self.last, self.last + 1, operation, (), _name([step]))
            self.last += 1
            places.append(self.last)
        for end in range(1, len(places)):
            for start in range(end):
                merged = as_candidate(chain, start, end)
                if merged is not None:
                    steps = chain.steps[start:end]
                    where = (places[start], places[end])
                    self._put(*where, merged, _sites_inside(steps), _name(steps))

    def _put(
        self, start: int, end: int, operation: Operation, sites: tuple[int, ...], name: str
    ) -> None:
        self.stretches.append(Stretch(start, end, self.cost(operation), sites, name))


def _sites_inside(steps: list[Step]) -> tuple[int, ...]:
    """The sites on the values of steps, except for those on the last value."""
    nodes: Iterator[fx.Node] = (node for step in steps for node in nodes_of(step))
    last = steps[-1].node
    return tuple(site for node in nodes if node is not last for site in node.meta.get(SITES, ()))


def _name(steps: list[Step]) -> str:
    names = [layer.name for step in steps for layer in layers_of(step)]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
