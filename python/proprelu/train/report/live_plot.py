"""The plot of a training in a notebook, while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proprelu.figures import LiveFigure
from proprelu.train.report.history import Row
from proprelu.train.report.plot import plot_histories

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LivePlot"]


class LivePlot:
    """A logger that draws losses and accuracies in Jupyter; elsewhere it does nothing."""

    def __init__(self) -> None:
        self._figure: LiveFigure | None = None
        self._rows: list[Row] = []

    def __getstate__(self) -> dict[str, Any]:
        # What is displayed belongs to a notebook.
        return {"_figure": None, "_rows": []}

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        self._figure, self._rows = LiveFigure(), []

    def on_step(self, event: Mapping[str, Any]) -> None:
        pass

    def on_epoch(self, row: Row) -> None:
        self._rows.append(row)
        if self._figure is not None:
            self._figure.draw(self._draw)

    def on_fit_end(self) -> None:
        if self._figure is not None and self._rows:
            self._figure.draw(self._draw, last=True)
        self._figure = None

    def _draw(self) -> Figure:
        return plot_histories({"this run": self._rows})
