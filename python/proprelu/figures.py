"""The style of the project's figures. Needs the extra ``plot``."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from proprelu.atomic import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, which color-blind readers can distinguish too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A7A", "#F0E442")
# A live figure is not drawn again for so many times as long as it took.
_DRAWN_PART = 20
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": "#9a9a9a",
    "axes.labelcolor": "#333333",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
}


def drawing_style() -> AbstractContextManager[None]:
    """Make matplotlib draw in this style inside a ``with`` block.

    Returns:
        The context manager.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ImportError(
            "plots need matplotlib, which is not installed: pip install 'proprelu[plot]'"
        ) from None
    return matplotlib.rc_context(STYLE)


def new_figure(width: float, height: float) -> Figure:
    """Make a figure that Jupyter displays, without pyplot.

    Args:
        width: in inches.
        height: in inches.

    Returns:
        The figure, with a constrained layout.
    """
    from matplotlib.figure import Figure

    class Plot(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Plot(figsize=(width, height), dpi=150, layout="constrained")


class LiveFigure:
    """A figure in a notebook, which is drawn again while its content grows; elsewhere nothing.

    Drawing takes a small part of the time at most. What was drawn last stays.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._next = 0.0
        self._shown = Console().is_jupyter and find_spec("matplotlib") is not None

    def draw(self, make: Callable[[], Figure], last: bool = False) -> None:
        """Draw, unless that would take too large a part of the time.

        Args:
            make: makes the figure.
            last: draw in any case.
        """
        start = time.monotonic()
        if not self._shown or (start < self._next and not last):
            return
        import IPython.display

        notebook: Any = IPython.display
        if self._handle is None:
            self._handle = notebook.display(make(), display_id=True)
        else:
            self._handle.update(make())
        self._next = time.monotonic() + _DRAWN_PART * (time.monotonic() - start)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure, whole or not at all.

    Args:
        figure: the figure.
        path: the file; its suffix is the format, ``.png`` is added if there is none.

    Raises:
        OSError: the file cannot be written.
        ValueError: matplotlib does not write this format.
    """
    target = Path(path)
    if not target.suffix:
        target = target.with_name(f"{target.name}.png")
    with written_whole(target) as part:
        figure.savefig(part, format=target.suffix[1:].lower())
