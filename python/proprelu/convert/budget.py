"""Plans which activations and layers go so that the network, merged, meets a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from proprelu._core import cheapest_way
from proprelu.checks import as_real
from proprelu.convert.plan import Placement, Plan, PlannedLayer, PlannedSite
from proprelu.convert.ranking import Ranking
from proprelu.graph import Sites, Traced, copied, decide, find_sites
from proprelu.merge import Removal, Stretch, Stretches, find_removals, find_stretches, merge

OBJECTIVES = ("latency", "macs")

# Costs are rounded to this part of the original's, which is finer than they can be measured.
_UNITS = 20_000
# How often a network is run to measure its time, unless that takes longer than some seconds.
_RUNS, _SECONDS = 20, 2.0


class Goal(NamedTuple):
    """What a plan has to reach.

    Attributes:
        objective: ``"latency"`` or ``"macs"``.
        budget: the part of the original's cost that the merged network may have.
        ranking: the cost of dropping each site, and of removing each layer that may go.
        example_input: its shapes decide what is fast.
    """

    objective: str
    budget: float
    ranking: Ranking
    example_input: object


def as_goal(
    objective: str | None, budget: float | None, placement: Placement, example_input: object
) -> Goal | None:
    """The goal that arguments of ``plan_for`` describe; None if they describe none.

    Raises:
        ValueError: they do not fit together.
    """
    if objective is None and budget is None:
        return None
    checked = check_budget(objective, budget)
    if not isinstance(placement, Ranking):
        raise ValueError(
            "placement must be a ranking for a budget, which decides by its costs; pass the "
            "result of sensitivity() or learn_placement()"
        )
    if example_input is None:
        raise ValueError(
            "example_input must be given for a budget, got None; pass a batch as it will come in "
            "use, as its shape decides what is fast"
        )
    return Goal(*checked, placement, example_input)


def check_budget(objective: object, budget: object) -> tuple[str, float]:
    """The objective and the budget, or a ``ValueError`` if they are not what they must be."""
    if objective not in OBJECTIVES:
        raise ValueError(f'objective must be "latency" or "macs" for a budget, got {objective!r}')
    part = as_real(budget)
    if part is None or not 0 < part <= 1:
        raise ValueError(
            f"budget must be the part of the original's {objective} that is left, above 0 and at "
            f"most 1, got {budget!r}"
        )
    return str(objective), part


def plan_within(
    goal: Goal, model: nn.Module, sites: Sites, by_ratio: Plan, activations: Collection[str]
) -> Plan:
    """The plan of the lowest cost within a budget.

    Args:
        goal: the budget.
        model: the model, which is not changed.
        sites: its sites.
        by_ratio: the plan without a budget: no other sites are dropped than those in its groups,
            and no more.
        activations: see ``plan_for``.

    Raises:
        ValueError: no choice is within the budget.
    """
    free = {number for number, site in enumerate(by_ratio.sites) if site.group >= 0}
    most = sum(not by_ratio.sites[number].keep for number in free)
    losses = _losses(goal.ranking, sites)
    original = copied(model).eval()
    removals = removable(goal.ranking, original, goal.example_input)
    removing = dict(zip(goal.ranking.layers, goal.ranking.layer_costs, strict=True))
    found = find_stretches(
        original, goal.example_input, goal.objective, _dropping(free, activations), removals
    )
    alone = _fastest(_unchanged(found), 0, found.last)
    timed = found.unit == "ms"
    # The tables may have been measured when the machine was faster or slower than it is now.
    whole = _milliseconds(original, goal.example_input) / found.drift if timed else alone
    # What the tables do not contain: activations, poolings, linear layers.
    rest = max(whole - alone, 0.0)
    unit = whole / _UNITS
    allowed = round(max(goal.budget * whole - rest, 0.0) / unit)
    rows = [
        (each.start, each.end, round(each.cost / unit), loss, len(each.sites))
        for each, loss in ((each, _loss(each, losses, removing)) for each in found.stretches)
    ]
    way, least = cheapest_way(rows, found.last, allowed, most)
    if way is None:
        raise ValueError(_too_small(goal, (rest + (least or 0) * unit) / whole))
    chosen = [found.stretches[number] for number in way]
    return replace(
        by_ratio,
        placement=goal.ranking.name,
        sites=_decided(by_ratio, chosen, found, losses),
        objective=goal.objective,
        expected=(rest + sum(each.cost for each in chosen)) / whole,
        layers=_decided_layers(removals, chosen, found, removing),
    )


def _too_small(goal: Goal, least: float) -> str:
    """What to do about a budget below the least that can be reached."""
    if least > 0.995:
        advice = "take another model or objective"
        if not goal.ranking.layers:
            advice = "let layers be removed too, by a ranking of sensitivity(..., layers=True)"
        return (
            f"budget cannot be met, got {goal.budget:g}: no merge makes this model cheaper in "
            f"{goal.objective}, whatever the ratio allows to drop; {advice}"
        )
    removed = " and every layer removed" if goal.ranking.layers else ""
    return (
        f"budget must be at least {math.ceil(100 * least) / 100:.2f} for this model and ratio, got "
        f"{goal.budget:g}: with every activation dropped{removed} that helps, the merged network "
        f"has {least:.0%} of the original's {goal.objective}"
    )


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


def _loss(stretch: Stretch, losses: Sequence[float], removing: Mapping[str, float]) -> float:
    dropped = sum(losses[site] for site in stretch.sites)
    return dropped + sum(removing[name] for name in stretch.removed)


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


def _milliseconds(model: nn.Module, example_input: object) -> float:
    """The shortest time that the model takes, with what can be merged in it as it is."""
    merged = merge(model, example_input, verify=False)
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    times: list[float] = []
    with torch.inference_mode():
        merged(*inputs)
        while len(times) < _RUNS and sum(times) < _SECONDS:
            begin = time.perf_counter()
            merged(*inputs)
            times.append(time.perf_counter() - begin)
    return 1e3 * min(times)


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
