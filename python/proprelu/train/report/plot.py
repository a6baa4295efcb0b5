"""Figures of training runs. Needs the extra ``plot``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from proprelu.figures import COLORS, drawing_style, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The rows of a ``History``, one for each epoch.
Rows = Sequence[Mapping[str, float | None]]


def plot_histories(
    histories: Mapping[str, Rows],
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw several runs together: loss on the left, top-1 accuracy on the right.

    Validation is a solid line with its last value beside it, training a thin dashed line.

    Args:
        histories: the runs by name.
        path: the file to save the figure to (``.png``, ``.svg``, ``.pdf``), if any.
        title: a line above the figure.

    Returns:
        A matplotlib figure, which Jupyter shows. pyplot's current figure and settings are not
        changed.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no history has a finished epoch.
    """
    style = drawing_style()
    if not any(len(history) for history in histories.values()):
        raise ValueError("there is nothing to draw: no history has a finished epoch")

    with style:
        figure = new_figure(10, 4.2)
        loss, accuracy = figure.subplots(1, 2)
        _draw(loss, histories, "loss", 1.0)
        _draw(accuracy, histories, "top1", 100.0)
        loss.set_title("Loss")
        accuracy.set_title("Top-1 accuracy (%)")
        _add_legend(figure, histories, title)
        if path is not None:
            save_figure(figure, path)
    return figure


def _draw(axes: Axes, histories: Mapping[str, Rows], measure: str, scale: float) -> None:
    from matplotlib.ticker import MaxNLocator

    if measure == "loss" and _spread(histories) > 5:
        _use_log_scale(axes)
    ends: list[tuple[float, float, str]] = []
    for index, history in enumerate(histories.values()):
        color = COLORS[index % len(COLORS)]
        train = _points(history, f"train_{measure}", scale)
        val = _points(history, f"val_{measure}", scale)
        axes.plot(*train, color=color, linewidth=1.2, linestyle=(0, (4, 2)), alpha=0.6)
        axes.plot(*val, color=color, linewidth=2.2, marker="o", markersize=4.5)
        epochs, values = val if val[1] else train
        if values:
            ends.append((epochs[-1], values[-1], color))
    _label_ends(axes, ends, "{:.3f}" if measure == "loss" else "{:.1f}")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)


def _spread(histories: Mapping[str, Rows]) -> float:
    """The ratio of the largest loss to the smallest; 1 if there are no finite losses."""
    names = ("train_loss", "val_loss")
    losses = [row[name] for rows in histories.values() for row in rows for name in names]
    finite = [loss for loss in losses if loss is not None and 0 < loss < float("inf")]
    return max(finite) / min(finite) if finite else 1.0


def _use_log_scale(axes: Axes) -> None:
    """Keep the other epochs readable if the loss of one is very large."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", length=0)


def _points(history: Rows, name: str, scale: float) -> tuple[list[float], list[float]]:
    """Epochs and values of the rows that have a value."""
    pairs = [
        (epoch, scale * value)
        for epoch, value in ((row["epoch"], row[name]) for row in history)
        if epoch is not None and value is not None
    ]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def _label_ends(axes: Axes, ends: list[tuple[float, float, str]], form: str) -> None:
    """Write the last value of each curve beside its end, moved apart if they would overlap."""
    axes.autoscale_view()  # set the limits now instead of when the figure is drawn
    to_axes = axes.transData + axes.transAxes.inverted()
    place = float("-inf")
    for epoch, value, color in sorted(ends, key=lambda end: end[1]):
        place = max(to_axes.transform((epoch, value))[1], place + 0.055)
        axes.annotate(
            form.format(value),
            (epoch, place),
            xycoords=("data", "axes fraction"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontweight="bold",
            annotation_clip=False,
        )


def _add_legend(figure: Figure, histories: Mapping[str, Rows], title: str | None) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLORS[i % len(COLORS)], linewidth=2.2, marker="o", label=name)
        for i, name in enumerate(histories)
    ]
    if any(row["val_loss"] is not None for history in histories.values() for row in history):
        gray = "#777777"
        handles.append(Line2D([], [], color=gray, linewidth=2.2, label="validation"))
        handles.append(Line2D([], [], color=gray, linewidth=1.2, linestyle="--", label="training"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    if title is not None:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color="#222222")
