"""A ranking of activations by the cost of dropping them."""

from __future__ import annotations

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
    """

    name: str
    sites: tuple[str, ...]
    costs: tuple[float, ...]
    unit: str

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
        """Draw a bar for each site, in execution order.

        Args:
            path: the file to save the figure to (``.png``, ``.svg``, ``.pdf``); None to save none.

        Returns:
            The figure.

        Raises:
            ImportError: matplotlib is not installed.
        """
        with drawing_style():
            figure = new_figure(8, 1.2 + 0.2 * len(self.sites))
            axes = figure.add_subplot()
            axes.barh(range(len(self.sites)), self.costs, color=COLORS[0], height=0.7)
            axes.set_yticks(range(len(self.sites)), self.sites, fontsize=8)
            axes.set_ylim(len(self.sites) - 0.4, -0.6)
            axes.axvline(0, color="#555555", linewidth=0.8)
            axes.grid(visible=False, axis="y")
            axes.set_xlabel(self.unit)
            axes.set_title(f"Cost of dropping each activation ({self.name})")
            if path is not None:
                save_figure(figure, path)
        return figure

    def __str__(self) -> str:
        width = max(map(len, self.sites), default=0)
        lines = [f"{self.sites[i]:<{width}}  {self.costs[i]:.4g}" for i in self.order()]
        return "\n".join([f"{self.name}: {self.unit}, the cheapest first", *lines])
