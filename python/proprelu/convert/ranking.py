"""A ranking of activations by the cost of dropping them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proprelu.figures import COLORS, drawing_style, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Placements that need data, and the functions that return them.
MEASURED = {"sensitivity": "sensitivity", "learned": "learn_placement"}


@dataclass(frozen=True)
class Ranking:
    """The cost of dropping each activation; a placement for ``plan_for`` and ``convert``.

    Prints as a table, the cheapest first.

    Attributes:
        name: how it was found: ``"sensitivity"``, ``"greedy"`` or ``"learned"``.
        sites: the names of the sites, in execution order.
        costs: the cost of dropping each; the cheapest are dropped first.
        unit: the quantity that the costs measure.
        layers: the names of layers and residual branches that can be removed, as in
            ``remove_layers``; empty if these were not measured.
        layer_costs: the cost of removing each, in the same unit.
    """

    name: str
    sites: tuple[str, ...]
    costs: tuple[float, ...]
    unit: str
    layers: tuple[str, ...] = ()
    layer_costs: tuple[float, ...] = ()

    def order(self, sites: Sequence[str] | None = None) -> list[int]:
        """Sort sites by the cost of dropping them, the cheapest first.

        Args:
            sites: the names of the sites; None for all.

        Returns:
            The indices into ``sites``, sorted.

        Raises:
            ValueError: a site was not measured.
        """
        known = dict(zip(self.sites, self.costs, strict=True))
        names = self.sites if sites is None else sites
        for name in names:
            if name not in known:
                raise ValueError(
                    f"the {self.name} ranking must cover the model's sites, got no cost for "
                    f"{name}; measure this model, with the same activations"
                )
        return sorted(range(len(names)), key=lambda i: known[names[i]])

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw a bar for each site, and one for each layer, in execution order.

        Args:
            path: the file to save the figure to (``.png``, ``.svg``, ``.pdf``); None to save none.

        Returns:
            The figure.

        Infinite costs are drawn as the highest finite one.

        Raises:
            ImportError: matplotlib is not installed.
        """
        with drawing_style():
            names, costs = (*self.sites, *self.layers), (*self.costs, *self.layer_costs)
            figure = new_figure(8, 1.2 + 0.2 * len(names))
            axes = figure.add_subplot()
            most = max((cost for cost in costs if math.isfinite(cost)), default=1.0)
            shown = [most if cost == math.inf else cost for cost in costs]
            bars = axes.barh(range(len(names)), shown, color=COLORS[0], height=0.7)
            for bar in bars[len(self.sites) :]:
                bar.set_color(COLORS[1])
            axes.set_yticks(range(len(names)), names, fontsize=8)
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.axvline(0, color="#555555", linewidth=0.8)
            axes.grid(visible=False, axis="y")
            axes.set_xlabel(self.unit)
            layers = ", and of removing each layer" if self.layers else ""
            axes.set_title(f"Cost of dropping each activation{layers} ({self.name})")
            if path is not None:
                save_figure(figure, path)
        return figure

    def __str__(self) -> str:
        width = max(map(len, (*self.sites, *self.layers)), default=0)
        lines = [f"{self.name}: {self.unit}, the cheapest first"]
        lines += [f"{self.sites[i]:<{width}}  {self.costs[i]:.4g}" for i in self.order()]
        if self.layers:
            lines.append("cost of removing a layer or branch, the cheapest first")
        removing = sorted(zip(self.layers, self.layer_costs, strict=True), key=lambda pair: pair[1])
        lines += [f"{name:<{width}}  {cost:.4g}" for name, cost in removing]
        return "\n".join(lines)
