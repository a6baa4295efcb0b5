"""Applies a plan to a model; the common part of all conversions."""

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from torch import nn

from proprelu.convert.anneal import Anneal
from proprelu.convert.inspect import check_model, inspect, need_sites
from proprelu.convert.parts import Ratios
from proprelu.convert.plan import Placement, make_plan
from proprelu.convert.verify import verify_conversion
from proprelu.graph import (
    RECTIFIERS,
    Blend,
    Slope,
    Traced,
    copied,
    decide,
    install,
    slope_of,
)


class Parts(NamedTuple):
    """The settings of ``plan_for`` that choose the sites and the boundaries of groups."""

    skip: Collection[str] = ()
    group: str = "network"
    count_shortcuts: bool = False


_ALL = Parts()


def apply_plan(
    model: nn.Module,
    ratio: Ratios,
    placement: Placement,
    example_input: object = None,
    inplace: bool = False,
    parts: Parts = _ALL,
    activations: Collection[str] = RECTIFIERS,
    anneal: Anneal | None = None,
    verify: bool | None = None,
) -> nn.Module:
    """Convert a model with a placement that is already determined; see ``convert``."""
    check_model(model)
    target = model if inplace else copied(model)
    traced, sites = inspect(target, example_input, activations)
    need_sites(model, sites, activations)
    plan = make_plan(model, sites, ratio, placement, *parts)
    plan.warn(stacklevel=4)
    before = slope_of(target)
    slope = None if anneal is None else Slope(target, anneal.epochs)
    if slope is None:
        decide(traced, sites.sites, plan.keep)
    else:
        blend = Blend(slope)
        decide(traced, sites.sites, plan.keep, lambda site: blend)
        if before is not None:  # sites of other kinds go on with the new slope
            _reslope(traced, slope)
    verify_conversion(target, traced, example_input, verify)
    used = {decision.slope for decision in _decisions(traced) if isinstance(decision, Blend)}
    slope = slope if slope in used else before if before in used else None
    if before is not None and before is not slope:
        before.remove()
    install(target, traced, slope)
    return target


def _decisions(traced: Traced) -> list[object]:
    nodes = [event.node for path in traced.paths for event in path.events]
    return [node.meta["decision"] for node in nodes if node is not None]


def _reslope(traced: Traced, slope: Slope) -> None:
    for path in traced.paths:
        for event in path.events:
            decision = None if event.node is None else event.node.meta["decision"]
            if event.node is not None and isinstance(decision, Blend):
                event.node.meta["decision"] = replace(decision, slope=slope)
