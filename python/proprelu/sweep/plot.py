"""The static figure of a sweep. Needs the extra ``plot``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from proprelu.figures import COLORS, drawing_style, new_figure, save_figure
from proprelu.sweep.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from proprelu.sweep.results import SweepResults

__all__ = ["plot_results"]


def plot_results(results: SweepResults, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a sweep; see ``SweepResults.plot``."""
    style = drawing_style()
    if not results.summaries:
        raise ValueError("there is nothing to draw: no run is finished")
    timed = any(summary.costs is not None for summary in results.summaries)
    with style:
        figure = new_figure(5.2 + 4.8 * timed, 4.0)
        axes = figure.subplots(1, 1 + timed, squeeze=False)[0]
        _draw_ratios(axes[0], results)
        if timed:
            _draw_latencies(axes[1], results)
        if path is not None:
            save_figure(figure, path)
    return figure


def _draw_ratios(axes: Axes, results: SweepResults) -> None:
    scale, title = _unit(results)
    for place, summary in enumerate(results.summaries):
        color = COLORS[place % len(COLORS)]
        values = [scale * value for value in summary.values]
        axes.plot([place] * len(values), values, "o", color=color, alpha=0.4, markersize=4)
        low, high = mean_interval(values)
        if low is not None and high is not None:
            axes.plot([place, place], [low, high], color=color, linewidth=2)
        axes.plot(place, scale * summary.mean, "D", color=color, markersize=7)
    names = [summary.variant.name.replace(" ", "\n") for summary in results.summaries]
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="x", visible=False)
    axes.set_title(f"{title}, with the 95% interval of the mean", fontsize=10)


def _draw_latencies(axes: Axes, results: SweepResults) -> None:
    scale, title = _unit(results)
    for place, summary in enumerate(results.summaries):
        if summary.costs is not None:
            x, y = summary.costs.milliseconds, scale * summary.mean
            axes.plot(x, y, "D", color=COLORS[place % len(COLORS)], markersize=7)
            axes.annotate(
                summary.variant.name, (x, y), xytext=(7, 4), textcoords="offset points", fontsize=9
            )
    axes.margins(x=0.25)
    axes.set_xlabel("latency of the merged network, ms")
    axes.set_title(f"{title}, against latency", fontsize=10)


def _unit(results: SweepResults) -> tuple[float, str]:
    if results.measure == "loss":
        return 1.0, "Validation loss"
    return 100.0, "Validation accuracy (%)"
