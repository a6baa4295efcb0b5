"""``Shrunk``: the result of ``shrink``, as a table and a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import fx, nn

from proprelu.convert import Plan
from proprelu.figures import COLORS, drawing_style, new_figure, save_figure
from proprelu.merge import MergeReport
from proprelu.shrink.measured import Measured
from proprelu.tables import Table, Tabular
from proprelu.train import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMES = ("original", "shrunk")


@dataclass(frozen=True)
class Shrunk(Tabular):
    """A network that was made faster, and what became of it. Prints as a table.

    Attributes:
        model: the merged network, for inference.
        trained: the converted network that was trained further, from which it was merged.
        plan: which activations were dropped and which layers removed, and why.
        report: what was merged, and why the rest was left alone.
        history: the training.
        before: the original, merged as far as it can be as it is.
        after: the merged network.
    """

    model: fx.GraphModule
    trained: nn.Module
    plan: Plan
    report: MergeReport
    history: History
    before: Measured
    after: Measured

    @property
    def left(self) -> list[tuple[str, str]]:
        """What was not merged, with the reason."""
        alone = [(run.name, run.reason) for run in self.report.runs if run.reason]
        return [*alone, *self.report.left]

    def _table(self) -> Table:
        before, after = self.before, self.after
        rows = [("latency", f"{before.milliseconds:.2f} ms", f"{after.milliseconds:.2f} ms")]
        rows.append(("MACs", f"{before.macs / 1e6:.1f} million", f"{after.macs / 1e6:.1f} million"))
        rows.append(("parameters", f"{before.parameters:,}", f"{after.parameters:,}"))
        if before.top1 is not None and after.top1 is not None:
            rows.insert(0, ("accuracy", f"{before.top1:.2%}", f"{after.top1:.2%}"))
        part = after.milliseconds / before.milliseconds
        removed = self.plan.removed_convolutions
        layers = f" and {removed} of {self.plan.convs} convolutions removed" if removed else ""
        title = (
            f"{self.plan.model}: {self.plan.dropped} of {len(self.plan.sites)} activations "
            f"dropped{layers}, {part:.0%} of the original's latency"
        )
        return Table(("", *_NAMES), rows, title, left=1)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw accuracy, latency, multiplications and parameters before and after.

        Args:
            path: the file to save the figure to (``.png``, ``.svg``, ``.pdf``); None to save none.

        Returns:
            The figure.

        Raises:
            ImportError: matplotlib is not installed.
        """
        with drawing_style():
            panels = self._panels()
            figure = new_figure(2.1 * len(panels), 2.6)
            axes_of_panels = figure.subplots(1, len(panels))
            for axes, (name, values, form) in zip(axes_of_panels, panels, strict=True):
                bars = axes.bar(_NAMES, values, color=(COLORS[6], COLORS[0]), width=0.6)
                axes.bar_label(bars, fmt=f"{{:{form}}}", padding=2, fontsize=9)
                axes.set_title(name, fontsize=10)
                axes.set_yticks([])
                axes.set_ylim(0, 1.15 * max(values))
                axes.grid(visible=False)
                axes.spines["left"].set_visible(False)
            if path is not None:
                save_figure(figure, path)
        return figure

    def _panels(self) -> list[tuple[str, tuple[float, float], str]]:
        """The title of each panel, its two numbers, and their format."""
        a, b = self.before, self.after
        panels = [
            ("latency, ms", (a.milliseconds, b.milliseconds), ".2f"),
            ("million MACs", (a.macs / 1e6, b.macs / 1e6), ".1f"),
            ("thousand parameters", (a.parameters / 1e3, b.parameters / 1e3), ",.1f"),
        ]
        if a.top1 is not None and b.top1 is not None:
            panels.insert(0, ("accuracy, %", (100 * a.top1, 100 * b.top1), ".2f"))
        return panels
