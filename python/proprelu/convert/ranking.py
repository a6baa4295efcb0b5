"""What it costs to lose each activation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proprelu.figures import COLORS, drawing_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# placements that need data, and who finds them
MEASURED = {"sensitivity": "sensitivity", "learned": "learn_placement"}


@dataclass(frozen=True)
class Ranking:
    """What each site's activation is worth; a placement for :func:`plan_for` and :func:`convert`.

    Prints as a table, the cheapest first.

    Attributes:
        name: how it was found: ``"sensitivity"``, ``"greedy"`` or ``"learned"``.
        sites: the sites' names, in execution order.
        costs: what is lost without each; the cheapest go first.
        unit: what the costs are.
    """

    name: str
    sites: tuple[str, ...]
    costs: tuple[float, ...]
    unit: str

    def order(self, sites: Sequence[str] | None = None) -> list[int]:
        """The numbers of some sites among themselves, the cheapest to lose first.

        Args:
            sites: their names; None: all.

        Raises:
            ValueError: a site that was not measured.
        """
        known = dict(zip(self.sites, self.costs, strict=True))
        names = self.sites if sites is None else sites
        for name in names:
            if name not in known:
                raise ValueError(
                    f"the {self.name} ranking must be of this model's sites, got none of {name}; "
                    "measure this model, with the same activations"
                )
        return sorted(range(len(names)), key=lambda i: known[names[i]])

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw a bar for each site, in execution order.

        Args:
            path: where to save the picture (`.png`, `.svg`, `.pdf`), if anywhere.

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
            axes.set_title(f"What each activation is worth ({self.name})")
            if path is not None:
                figure.savefig(path)
        return figure

    def __str__(self) -> str:
        width = max(map(len, self.sites), default=0)
        lines = [f"{self.sites[i]:<{width}}  {self.costs[i]:.4g}" for i in self.order()]
        return "\n".join([f"{self.name}: {self.unit}, the cheapest first", *lines])
