"""The figure of a profile. Needs the extra ``plot``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from proprelu.figures import COLORS, drawing_style, new_figure, save_figure
from proprelu.train.report.profile_row import ProfileRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Further rows are drawn as one bar.
_MOST = 14
_KERNELS = ("direct", "winograd", "depthwise", "fused", "torch", "kept", "others", "amx")
# Kernels that multiply bf16 in fp32 are drawn in the color of those that do not.
_IN_F32 = "-f32"


def plot_profile(rows: Sequence[ProfileRow], path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a bar of milliseconds for each operation and kernel, with a tick at its floor.

    Args:
        rows: one for each operation and kernel, the slowest first.
        path: the file to save the figure to, if any.

    Raises:
        ImportError: matplotlib is not installed.
    """
    style = drawing_style()
    bars = _bars(rows)
    with style:
        figure = new_figure(9, 1.4 + 0.3 * len(bars))
        axes = figure.add_subplot()
        _draw(axes, bars)
        axes.plot([], [], color="#222222", linewidth=1.6, label="floor")
        axes.set_yticks(range(len(bars)), [name for name, _, _, _ in bars])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.1)
        axes.set_xlabel("milliseconds in a step")
        axes.set_title(f"{sum(row.milliseconds for row in rows):.1f} ms a step")
        axes.legend(loc="lower right")
        if path is not None:
            save_figure(figure, path)
    return figure


Bar = tuple[str, str, float, float]


def _bars(rows: Sequence[ProfileRow]) -> list[Bar]:
    """Name, kernel, milliseconds and floor, the slowest first."""
    shown, rest = rows[:_MOST], rows[_MOST:]
    bars = [(f"{row.calls} {row.op}", row.kernel, row.milliseconds, row.floor) for row in shown]
    if rest:
        times = sum(row.milliseconds for row in rest), sum(row.floor for row in rest)
        bars.append((f"{len(rest)} others", "others", *times))
    return bars


def _draw(axes: Axes, bars: list[Bar]) -> None:
    drawn = set()
    for place, (_, kernel, milliseconds, floor) in enumerate(bars):
        algorithm = kernel.removesuffix(_IN_F32)
        color = COLORS[_KERNELS.index(algorithm)]
        hatch = None if kernel == algorithm else "//"
        label = "_" if kernel in drawn else kernel
        drawn.add(kernel)
        axes.barh(place, milliseconds, color=color, height=0.7, label=label, hatch=hatch)
        axes.plot([floor, floor], [place - 0.42, place + 0.42], color="#222222", linewidth=1.6)
        axes.annotate(
            f"{milliseconds:.2f}",
            (max(milliseconds, floor), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color="#555555",
        )
