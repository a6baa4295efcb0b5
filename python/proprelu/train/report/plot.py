"""Figures of training runs. Needs the extra ``plot``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import numpy as np

from proprelu.figures import COLORS, drawing_style, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The rows of a ``History``, one for each epoch.
Rows: TypeAlias = Sequence[Mapping[str, float | None]]


class Curve(NamedTuple):
    """One measure of a run, or of several repetitions of it, over the epochs."""

    epochs: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def plot_histories(
    histories: Mapping[str, Rows | Sequence[Rows]],
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw several runs together: loss on the left, top-1 accuracy on the right.

    Validation is a solid line with its last value beside it, training a thin dashed line. Several
    repetitions of a run, such as those with other seeds, are drawn as their mean, with a band from
    the lowest to the highest validation.

    Args:
        histories: the runs by name; for each a ``History``, or a list of them.
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
    runs = {name: _repetitions(history) for name, history in histories.items()}
    if not any(len(rows) for run in runs.values() for rows in run):
        raise ValueError("there is nothing to draw: no history has a finished epoch")

    with style:
        figure = new_figure(10, 4.2)
        loss, accuracy = figure.subplots(1, 2)
        _draw(loss, runs, "loss", 1.0)
        _draw(accuracy, runs, "top1", 100.0)
        loss.set_title("Loss")
        accuracy.set_title("Top-1 accuracy (%)")
        _add_legend(figure, runs, title)
        if path is not None:
            save_figure(figure, path)
    return figure


def _repetitions(history: Rows | Sequence[Rows]) -> Sequence[Rows]:
    """A run as a list of its repetitions."""
    single = len(history) == 0 or isinstance(history[0], Mapping)
    return [cast(Rows, history)] if single else cast("Sequence[Rows]", history)


def _draw(axes: Axes, runs: Mapping[str, Sequence[Rows]], measure: str, scale: float) -> None:
    from matplotlib.ticker import MaxNLocator

    if measure == "loss" and _spread(runs) > 5:
        _use_log_scale(axes)
    ends: list[tuple[float, float, str]] = []
    for index, run in enumerate(runs.values()):
        color = COLORS[index % len(COLORS)]
        train = _curve(run, f"train_{measure}", scale)
        val = _curve(run, f"val_{measure}", scale)
        dashed = (0, (4, 2))
        axes.plot(train.epochs, train.mean, color=color, linewidth=1.2, linestyle=dashed, alpha=0.6)
        axes.plot(val.epochs, val.mean, color=color, linewidth=2.2, marker="o", markersize=4.5)
        if len(run) > 1:
            axes.fill_between(val.epochs, val.low, val.high, color=color, alpha=0.15, linewidth=0)
        shown = val if val.epochs else train
        if shown.epochs:
            ends.append((shown.epochs[-1], shown.mean[-1], color))
    _label_ends(axes, ends, "{:.3f}" if measure == "loss" else "{:.1f}")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)


def _spread(runs: Mapping[str, Sequence[Rows]]) -> float:
    """The ratio of the largest loss to the smallest; 1 if there are no finite losses."""
    rows = [row for run in runs.values() for repetition in run for row in repetition]
    losses = [row[name] for name in ("train_loss", "val_loss") for row in rows]
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


def _curve(run: Sequence[Rows], name: str, scale: float) -> Curve:
    """The mean and the range of a measure over the repetitions that have a value at an epoch."""
    by_epoch: dict[float, list[float]] = {}
    for row in (row for repetition in run for row in repetition):
        epoch, value = row["epoch"], row[name]
        if epoch is not None and value is not None:
            by_epoch.setdefault(epoch, []).append(scale * value)
    epochs = sorted(by_epoch)
    values = [by_epoch[epoch] for epoch in epochs]
    mean = [float(np.mean(v)) for v in values]
    return Curve(epochs, mean, [min(v) for v in values], [max(v) for v in values])


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


def _add_legend(figure: Figure, runs: Mapping[str, Sequence[Rows]], title: str | None) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLORS[i % len(COLORS)], linewidth=2.2, marker="o", label=name)
        for i, name in enumerate(runs)
    ]
    rows = [row for run in runs.values() for repetition in run for row in repetition]
    if any(row["val_loss"] is not None for row in rows):
        gray = "#777777"
        handles.append(Line2D([], [], color=gray, linewidth=2.2, label="validation"))
        handles.append(Line2D([], [], color=gray, linewidth=1.2, linestyle="--", label="training"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    if title is not None:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color="#222222")
