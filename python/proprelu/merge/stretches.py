"""What a network could become by dropping activations and removing layers, as stretches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from torch import fx, nn

from proprelu.graph import Traced
from proprelu.merge.chains import Chain, Step, Sum, find_chains, layers_of, nodes_of
from proprelu.merge.choose import as_candidate
from proprelu.merge.costs import costs_by_name
from proprelu.merge.evaluation import evaluation_graph
from proprelu.merge.layers import Layer
from proprelu.merge.modules import form_of
from proprelu.merge.operations import Operation, addition, as_it_is
from proprelu.merge.removals import Removal
from proprelu.merge.removed import SITES

# Convolutions are merged across so many removed ones, and with so many steps on either side.
_ACROSS, _FARTHEST = 2, 8


@dataclass(frozen=True)
class Stretch:
    """An operation of a network, or several which would become one, or none.

    Attributes:
        start: the place before it.
        end: the place after it.
        cost: in milliseconds or multiplications.
        sites: the numbers of the sites inside, whose activations would have to be dropped.
        name: the paths of its first and last layer.
        removed: the names of the removals inside.
        idle: the numbers of the sites in a removed branch, whose activations have no effect.
    """

    start: int
    end: int
    cost: float
    sites: tuple[int, ...]
    name: str
    removed: tuple[str, ...] = ()
    idle: tuple[int, ...] = ()


class Stretches(NamedTuple):
    """All stretches of a network.

    Attributes:
        stretches: every way from place 0 to ``last`` is something that the network can become.
        last: the last place.
        unit: of the costs.
        drift: how many times as much the operations of the network as it is cost now as when
            their costs were found.
    """

    stretches: list[Stretch]
    last: int
    unit: str
    drift: float


def find_stretches(
    model: nn.Module,
    example_input: object,
    cost: str,
    prepare: Callable[[Traced], None],
    removals: Collection[Removal] = (),
) -> Stretches:
    """Find what a model can become by dropping activations, removing layers and merging.

    Args:
        model: a model in evaluation mode; it is not changed.
        example_input: see ``merge``.
        cost: see ``merge``.
        prepare: drops activations in a trace of the model, and numbers their nodes as
            ``node.meta["site"]``.
        removals: what may be removed.
    """
    net = evaluation_graph(model, example_input, prepare)
    layout = _Layout(removals)
    layout.add_all(find_chains(net).chains)
    costs = costs_by_name(cost, form_of(net, example_input))
    costs.prepare(each.operation for each in layout.parts if each.operation is not None)
    stretches = [
        Stretch(
            part.start,
            part.end,
            0.0 if part.operation is None else costs.of(part.operation),
            part.sites,
            part.name,
            part.removed,
            part.idle,
        )
        for part in layout.parts
    ]
    single = [part.operation for part in layout.parts if part.operation and part.is_single]
    return Stretches(stretches, layout.last, costs.unit, costs.drift(single))


class _Part(NamedTuple):
    """A stretch before its cost is known; without an operation nothing is left of it."""

    start: int
    end: int
    operation: Operation | None
    sites: tuple[int, ...]
    name: str
    removed: tuple[str, ...] = ()
    idle: tuple[int, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether it is an operation of the network as it is."""
        return self.end == self.start + 1 and not self.sites and not self.removed


class _Layout:
    """Puts chains one after the other, and so the branches of a sum, as their costs add up."""

    def __init__(self, removals: Collection[Removal]) -> None:
        self.last = 0
        self.parts: list[_Part] = []
        self.branches = {each.addition: each for each in removals if each.addition is not None}
        self.layers = {each.layers: each for each in removals if each.addition is None}

    def add_all(self, chains: Sequence[Chain]) -> None:
        """Add chains; those of a branch that can be removed next to each other."""
        for removal, inside in _grouped(chains, tuple(self.branches.values())):
            start = self.last
            for chain in inside:
                self.add(chain)
            if removal is not None:
                self._remove(start, removal, [node for chain in inside for node in chain.nodes()])

    def add(self, chain: Chain) -> None:
        places = [self.last]
        for step in chain.steps:
            start = self.last
            for branch in step.branches if isinstance(step, Sum) else ():
                self.add(branch)
            operation = addition(step) if isinstance(step, Sum) else as_it_is(step)
            self.last += 1
            self._put(self.last - 1, self.last, operation, (), _name([step]))
            if isinstance(step, Sum) and step.node.name in self.branches:
                inside = [node for branch in step.branches for node in branch.nodes()]
                self._remove(start, self.branches[step.node.name], inside)
            places.append(self.last)
        for end in range(1, len(places)):
            for start in range(end):
                merged = as_candidate(chain, start, end)
                if merged is not None:
                    steps = chain.steps[start:end]
                    where = (places[start], places[end])
                    self._put(*where, merged, _sites_inside(steps), _name(steps))
        self._add_without(chain, places)

    def _add_without(self, chain: Chain, places: Sequence[int]) -> None:
        """Add what a chain can become without some of its layers."""
        removable = list(_removable(chain, self.layers))
        for start, end, removal in removable:
            name = removal.name
            self.parts.append(_Part(places[start], places[end], None, (), name, (name,)))
        for count in range(1, _ACROSS + 1):
            for chosen in combinations(removable, count):
                self._merge_across(chain, places, chosen)

    def _merge_across(
        self, chain: Chain, places: Sequence[int], chosen: Sequence[tuple[int, int, Removal]]
    ) -> None:
        """Add the merges of what is before, between and after removed layers."""
        gone = {number for start, end, _ in chosen for number in range(start, end)}
        left = [number for number in range(len(chain.steps)) if number not in gone]
        without = Chain(chain.source, [chain.steps[number] for number in left])
        before = sum(number < chosen[0][0] for number in left)
        after = sum(number < chosen[-1][0] for number in left)
        removed = tuple(removal.name for _, _, removal in chosen)
        for start in range(max(0, before - _FARTHEST), before):
            for end in range(after + 1, min(len(left), after + _FARTHEST) + 1):
                merged = as_candidate(without, start, end)
                if merged is not None:
                    first, last = left[start], left[end - 1] + 1
                    steps = chain.steps[first:last]
                    sites, name = _sites_inside(steps), _name(steps)
                    where = (places[first], places[last])
                    self.parts.append(_Part(*where, merged, sites, name, removed))

    def _put(
        self, start: int, end: int, operation: Operation, sites: tuple[int, ...], name: str
    ) -> None:
        self.parts.append(_Part(start, end, operation, sites, name))

    def _remove(self, start: int, removal: Removal, inside: Sequence[fx.Node]) -> None:
        """Add the removal of everything since a place."""
        idle = tuple(site for node in inside for site in node.meta.get(SITES, ()))
        name = removal.name
        self.parts.append(_Part(start, self.last, None, (), name, (name,), idle))


def _removable(
    chain: Chain, removals: dict[tuple[str, ...], Removal]
) -> Iterator[tuple[int, int, Removal]]:
    """The steps of a chain that can be removed together, from one number to another."""
    names = [step.name if isinstance(step, Layer) else "" for step in chain.steps]
    for start in range(len(names)):
        for end in range(start + 1, len(names) + 1):
            removal = removals.get(tuple(names[start:end]))
            if removal is not None:
                yield start, end, removal


def _grouped(
    chains: Sequence[Chain], branches: Sequence[Removal]
) -> Iterator[tuple[Removal | None, list[Chain]]]:
    """Chains, and those of a branch together; a branch in another one is no group of its own."""
    sums = {step.node.name for chain in chains for step in _sums(chain)}
    names = [{layer.name for step in chain.steps for layer in layers_of(step)} for chain in chains]
    owners: dict[int, Removal] = {}
    for removal in sorted(branches, key=lambda each: -len(each.layers)):
        layers = set(removal.layers)
        inside = [number for number, own in enumerate(names) if own & layers]
        whole = all(names[number] <= layers and number not in owners for number in inside)
        if whole and removal.addition not in sums:
            owners |= dict.fromkeys(inside, removal)
    done: set[str | None] = set()
    for number, chain in enumerate(chains):
        owner = owners.get(number)
        if owner is None:
            yield None, [chain]
        elif owner.name not in done:
            done.add(owner.name)
            yield owner, [chains[n] for n, other in owners.items() if other is owner]


def _sums(chain: Chain) -> Iterator[Sum]:
    """The sums in a chain, also those in branches."""
    for step in chain.steps:
        if isinstance(step, Sum):
            yield step
            for branch in step.branches:
                yield from _sums(branch)


def _sites_inside(steps: list[Step]) -> tuple[int, ...]:
    """The sites on the values of steps, except for those on the last value."""
    nodes: Iterator[fx.Node] = (node for step in steps for node in nodes_of(step))
    last = steps[-1].node
    return tuple(site for node in nodes if node is not last for site in node.meta.get(SITES, ()))


def _name(steps: list[Step]) -> str:
    names = [layer.name for step in steps for layer in layers_of(step)]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
