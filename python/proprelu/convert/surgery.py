"""Applies a plan to a model; the common part of all conversions."""

import warnings
from collections.abc import Collection
from copy import deepcopy
from typing import NamedTuple

from torch import nn

from proprelu.convert.anneal import Anneal
from proprelu.convert.inspect import inspect, need_sites
from proprelu.convert.parts import Ratios
from proprelu.convert.plan import Placement, make_plan
from proprelu.graph import RECTIFIERS, Rewritten, Slope, Traced, rewrite


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
) -> nn.Module:
    """Convert a model with a placement that is already determined; see ``convert``."""
    traced, sites = inspect(model, example_input, activations)
    need_sites(model, sites, activations)
    plan = make_plan(model, sites, ratio, placement, *parts)
    _warn_of_lost_hooks(traced)
    converted = rewrite(traced, sites.sites, plan.keep, _slope(model, anneal))
    return converted if inplace else deepcopy(converted)


def _slope(model: nn.Module, anneal: Anneal | None) -> Slope | None:
    if anneal is None:
        return None
    first = next(model.parameters())
    return Slope(anneal.epochs).to(device=first.device)


def _warn_of_lost_hooks(traced: Traced) -> None:
    if isinstance(traced.model, Rewritten):  # the first conversion has warned
        return
    called = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    lost = [
        path
        for path, module in traced.model.named_modules()
        if path
        and (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
        and not any(path == name or path.startswith(name + ".") for name in called)
    ]
    if lost:
        warnings.warn(
            f"the hooks on {', '.join(lost)} will not run in the converted model, as its forward "
            "calls the layers inside directly; hook those layers instead",
            UserWarning,
            stacklevel=4,
        )
