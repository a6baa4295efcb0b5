"""Progress bars: live in a terminal and in Jupyter, silent in a file, a pipe or a dumb terminal."""

from __future__ import annotations

import io
import time
from typing import Any

from rich.console import Console, Group
from rich.progress import Progress, ProgressColumn, TaskID
from rich.text import Text

__all__ = ["Bars"]

# The width of a notebook's output, in characters.
_NOTEBOOK_WIDTH = 110
# A notebook draws so often, whatever the number of runs that report.
_SECONDS_BETWEEN = 0.2
_HTML = (
    "<pre style=\"white-space: pre-wrap; line-height: normal; font-family: Menlo, 'DejaVu Sans "
    "Mono', Consolas, monospace\">{code}</pre>"
)


class Bars(Progress):
    """rich's ``Progress`` on standard error, so that standard output holds results only.

    In Jupyter it redraws one block of HTML; rich's own would need ipywidgets.

    Args:
        columns: what a line shows; rich's usual columns if none are given.
        shown: whether to draw at all.
        console: where to write; standard error by default.
        transient: erase the bars at the end; lines above them stay.
        auto_refresh: redraw ten times a second from a thread; otherwise on each update.
    """

    def __init__(
        self,
        *columns: str | ProgressColumn,
        shown: bool = True,
        console: Console | None = None,
        transient: bool = False,
        auto_refresh: bool = True,
    ) -> None:
        console = console or Console(stderr=True, highlight=False)
        live = console.is_terminal and not console.is_dumb_terminal
        super().__init__(
            *columns,
            console=console,
            transient=transient,
            auto_refresh=auto_refresh,
            disable=not (shown and (live or console.is_jupyter)),
        )
        self._transient = transient
        self._lines: list[str] = []
        self._handle: Any = None
        self._drawn = 0.0

    def line(self, text: str) -> None:
        """Write a line above the bars. It is written also where no bars are drawn."""
        if self.console.is_jupyter and not self.disable:
            self._lines.append(text)
            self.refresh()
        else:
            self.console.print(text, soft_wrap=True, markup=False)

    def start(self) -> None:
        """Begin to draw."""
        if self.disable:
            return
        if self.console.is_jupyter:
            import IPython.display

            notebook: Any = IPython.display
            self._handle = notebook.display(notebook.HTML(""), display_id=True)
        else:
            super().start()

    def stop(self) -> None:
        """End drawing."""
        if self.disable:
            return
        if self.console.is_jupyter:
            self._redraw(with_bars=not self._transient)
            self._handle = None
        else:
            super().stop()

    def refresh(self) -> None:
        """Draw the present state."""
        if self.console.is_jupyter:
            self._redraw(with_bars=True)
        else:
            super().refresh()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task; see rich's ``Progress.update``."""
        super().update(task_id, **changes)
        self._refresh_notebook()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance a task by a number of steps."""
        super().advance(task_id, advance)
        self._refresh_notebook()

    def _refresh_notebook(self) -> None:
        if self.console.is_jupyter and time.monotonic() - self._drawn >= _SECONDS_BETWEEN:
            self.refresh()

    def _redraw(self, with_bars: bool) -> None:
        with self._lock:  # several runs report from threads of their own
            if self._handle is not None:
                self._draw(with_bars)
                self._drawn = time.monotonic()

    def _draw(self, with_bars: bool) -> None:
        import IPython.display

        notebook: Any = IPython.display
        console = Console(
            file=io.StringIO(),
            record=True,
            width=_NOTEBOOK_WIDTH,
            force_terminal=True,
            force_jupyter=False,
            color_system="truecolor",
        )
        bars = [self.get_renderable()] if with_bars else []
        console.print(Group(*map(Text, self._lines), *bars))
        page = console.export_html(code_format=_HTML, inline_styles=True)
        self._handle.update(notebook.HTML(page))
