"""What a network can become by dropping activations and removing layers, as plans."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from proprelu._core import cheapest_way
from proprelu.convert.plan import Plan, PlannedLayer, PlannedSite
from proprelu.convert.ranking import Ranking
from proprelu.graph import Sites, Traced, decide, find_sites
from proprelu.merge import Removal, Stretch, Stretches, find_removals, find_stretches

# Costs are rounded to this part of the original's, which is finer than they can be measured.
_UNITS = 20_000


class Choices:
    """All choices of what a network loses, from which plans of the least loss are made.

    Args:
        model: the network in evaluation mode.
        sites: its sites.
        by_ratio: the plan without a budget: no other sites are dropped than those in its groups,
            and no more.
        ranking: what it loses with each site and layer.
        objective: ``"latency"`` or ``"macs"``.
        example_input: its shapes decide what is fast.
        activations: see ``plan_for``.
        milliseconds: the time of the network as it is, merged as far as possible; None for MACs.

    Attributes:
        least: the smallest part of the network's cost that any choice comes to.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sites,
        by_ratio: Plan,
        ranking: Ranking,
        objective: str,
        example_input: object,
        activations: Collection[str],
        milliseconds: float | None,
    ) -> None:
        free = {number for number, site in enumerate(by_ratio.sites) if site.group >= 0}
        self._by_ratio, self._ranking = by_ratio, ranking
        self._objective = objective
        self._most = sum(not by_ratio.sites[number].keep for number in free)
        self._losses = _losses(ranking, sites)
        self._removals = removable(ranking, model, example_input)
        self._removing = dict(zip(ranking.layers, ranking.layer_costs, strict=True))
        found = find_stretches(
            model, example_input, objective, _dropping(free, activations), self._removals
        )
        # What costs infinitely much must not go.
        found = found._replace(
            stretches=[each for each in found.stretches if self._loss(each) < math.inf]
        )
        self._found = found
        alone = _fastest(_unchanged(found), 0, found.last)
        # The tables may have been measured when the machine was faster or slower than it is now.
        self._whole = alone if milliseconds is None else milliseconds / found.drift
        # What the tables do not contain: activations, poolings, linear layers.
        self._rest = max(self._whole - alone, 0.0)
        unit = self._unit = self._whole / _UNITS
        self._rows = [
            (each.start, each.end, round(each.cost / unit), self._loss(each), len(each.sites))
            for each in found.stretches
        ]
        fastest = _fastest(found.stretches, 0, found.last)
        _, least = cheapest_way(self._rows, found.last, 0, self._most)
        self.least = (self._rest + (least * unit if least is not None else fastest)) / self._whole

    def within(self, part: float) -> Plan | None:
        """The plan of the lowest loss within a part of the network's cost; None if there is none.

        The cost of a plan is the sum of the costs of its operations.
        """
        allowed = round(max(part * self._whole - self._rest, 0.0) / self._unit)
        way, _ = cheapest_way(self._rows, self._found.last, allowed, self._most)
        if way is None:
            return None
        chosen = [self._found.stretches[number] for number in way]
        return replace(
            self._by_ratio,
            placement=self._ranking.name,
            sites=_decided(self._by_ratio, chosen, self._found, self._losses),
            objective=self._objective,
            expected=(self._rest + sum(each.cost for each in chosen)) / self._whole,
            layers=_decided_layers(self._removals, chosen, self._found, self._removing),
        )

    def _loss(self, stretch: Stretch) -> float:
        dropped = sum(self._losses[site] for site in stretch.sites)
        return dropped + sum(self._removing[name] for name in stretch.removed)


def removable(ranking: Ranking, model: nn.Module, example_input: object) -> tuple[Removal, ...]:
    """What a plan may remove: all that a ranking has costs for.

    Of the convolutions of a branch one has to stay, or the whole branch goes; it is the one that
    the network misses most.

    Raises:
        ValueError: the ranking is that of another model.
    """
    if not ranking.layers:
        return ()
    removals = find_removals(model, example_input)
    costs = dict(zip(ranking.layers, ranking.layer_costs, strict=True))
    unknown = sorted({each.name for each in removals} ^ {*costs})
    if unknown:
        raise ValueError(
            f"the {ranking.name} ranking must cover the model's layers, which {unknown[0]} is "
            "missing in one of; measure this model, with the same example_input"
        )
    stay = {max(each.either, key=costs.__getitem__) for each in removals if each.either}
    return tuple(each for each in removals if each.name not in stay)


def _unchanged(found: Stretches) -> list[Stretch]:
    """The stretches that need nothing dropped or removed."""
    return [each for each in found.stretches if not each.sites and not each.removed]


def _losses(ranking: Ranking, sites: Sites) -> list[float]:
    """The cost of dropping each site."""
    names = [site.name for site in sites.sites]
    ranking.order(names)  # raises an error for a site without a cost
    known = dict(zip(ranking.sites, ranking.costs, strict=True))
    return [known[name] for name in names]


def _dropping(free: Collection[int], activations: Collection[str]) -> Callable[[Traced], None]:
    """Drops all sites of a trace that may be dropped, and numbers them."""

    def drop(traced: Traced) -> None:
        sites = find_sites(traced, activations).sites
        dropped = [number in free or s.activation.dropped for number, s in enumerate(sites)]
        decide(traced, sites, [not each for each in dropped])
        for number, site in enumerate(sites):
            site.node.meta["site"] = number

    return drop


def _fastest(stretches: Iterable[Stretch], start: int, end: int) -> float:
    """The cost of the cheapest way between two places."""
    costs = {start: 0.0}
    for each in sorted(stretches, key=lambda stretch: stretch.end):
        if each.start in costs and each.end <= end:
            through = costs[each.start] + each.cost
            costs[each.end] = min(through, costs.get(each.end, through))
    return costs[end]


def _decided(
    by_ratio: Plan, chosen: Sequence[Stretch], found: Stretches, losses: Sequence[float]
) -> tuple[PlannedSite, ...]:
    """The sites with their decisions, and the reasons."""
    alone = _unchanged(found)
    helpful = {inside for each in found.stretches for inside in each.sites}
    dropped: dict[int, str] = {}
    for each in chosen:
        before = _fastest(alone, each.start, each.end)
        for inside in each.sites:
            dropped[inside] = f"{each.name} become one, {_amounts(before, each.cost, found.unit)}"
        for inside in each.idle:
            dropped[inside] = f"has no effect without {each.name}"
    planned = []
    for number, site in enumerate(by_ratio.sites):
        reason = "no merge needs it dropped"
        if number in helpful:
            reason = f"not needed for the budget; dropping it costs {losses[number]:.3g}"
        if site.group >= 0:
            reason = dropped.get(number, reason)
            site = replace(site, keep=number not in dropped, reason=reason)
        planned.append(site)
    return tuple(planned)


def _decided_layers(
    removals: Sequence[Removal],
    chosen: Sequence[Stretch],
    found: Stretches,
    removing: Mapping[str, float],
) -> tuple[PlannedLayer, ...]:
    """What can be removed with the decisions, and the reasons."""
    alone = _unchanged(found)
    gone: dict[str, str] = {}
    for each in chosen:
        amounts = _amounts(_fastest(alone, each.start, each.end), each.cost, found.unit)
        others = f" {each.name}," if each.sites else ""
        gone |= dict.fromkeys(each.removed, f"costs {{:.3g}};{others} {amounts}")
    planned = []
    for removal in removals:
        loss = removing[removal.name]
        reason = gone.get(removal.name, "not needed for the budget; removing it costs {:.3g}")
        keep = removal.name not in gone
        planned.append(PlannedLayer(removal.name, removal.convolutions, keep, reason.format(loss)))
    return tuple(planned)


def _amounts(before: float, after: float, unit: str) -> str:
    if unit == "ms":
        return f"{after:.3f} ms instead of {before:.3f}"
    return f"{after / 1e6:.2f} million MACs instead of {before / 1e6:.2f}"
