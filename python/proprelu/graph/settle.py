"""Finds the slope of an annealed model, and ends the annealing."""

from __future__ import annotations

from torch import nn

from proprelu.graph.intercept import held, restore
from proprelu.graph.places import replace_decisions
from proprelu.graph.scopes import Table
from proprelu.graph.slope import Slope


def slope_of(model: nn.Module) -> Slope | None:
    """The slope of an annealed model; None for any other."""
    table = held(model)
    return table.slope if isinstance(table, Table) else None


def slopes_in(model: nn.Module) -> list[Slope]:
    """The slopes of all annealed models inside a model, or of the model itself."""
    found = (slope_of(module) for module in model.modules())
    return [slope for slope in found if slope is not None]


def settle(model: nn.Module) -> None:
    """Drop the sites that a slope has blended into the identity."""
    slope = slope_of(model)
    replace_decisions(model, lambda decision, _: decision.settled())
    if slope is not None:
        slope.remove()
        table = held(model)
        if isinstance(table, Table):
            table.slope = None
            if not table.counts:
                restore(model)
