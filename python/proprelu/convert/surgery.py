"""Applies a plan to a model; the common part of all conversions."""

from collections.abc import Collection
from typing import NamedTuple

from torch import nn

from proprelu.convert.anneal import Anneal
from proprelu.convert.inspect import inspect, need_sites
from proprelu.convert.parts import Ratios
from proprelu.convert.plan import Placement, make_plan
from proprelu.convert.verify import verify_conversion
from proprelu.graph import (
    RECTIFIERS,
    Blend,
    Slope,
    check_changeable,
    copied,
    decide,
    install,
    slopes_in,
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
    check_changeable(model, "convert")
    target = model if inplace else copied(model)
    traced, sites = inspect(target, example_input, activations)
    need_sites(model, sites, activations)
    plan = make_plan(model, sites, ratio, placement, *parts)
    plan.warn(stacklevel=4)
    before = slopes_in(target)
    if anneal is None:
        decide(traced, sites.sites, plan.keep)
    else:
        blend = Blend(Slope(target, anneal.epochs))
        decide(traced, sites.sites, plan.keep, lambda site: blend)
    verify_conversion(target, traced, example_input, verify)
    install(target, traced)
    for slope in before:
        if slope not in slopes_in(target):
            slope.remove()
    return target
