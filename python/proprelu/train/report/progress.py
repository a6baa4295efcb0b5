"""The live line under a running `fit`."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar as Bar
from rich.table import Table
from rich.text import Text

from proprelu.train.report.history import Row


class ProgressBar:
    """Shows epoch, loss, accuracy, images/s and time left while `fit` runs.

    In a terminal a live line, with one line above it for each finished epoch; in Jupyter the
    same as HTML; where the output goes to a file, the finished epochs only. It writes to standard
    error, so that standard output stays free for results.

    Args:
        name: a word to put before each line, to tell runs apart.
        console: where to write (default: standard error).
    """

    def __init__(self, name: str = "", console: Console | None = None) -> None:
        self._name = name
        self._console = console or Console(stderr=True, highlight=False)
        self._show: Callable[[Mapping[str, Any] | None], None] = _ignore
        self._close: Callable[[], None] = lambda: None
        self._finished: list[str] = []
        self._clock = _Clock(0)

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        self._total_epochs = total_epochs
        self._clock = _Clock(total_epochs * steps_per_epoch)
        self._finished = []
        if self._console.is_jupyter:
            self._open_notebook()
        elif self._console.is_terminal:
            self._open_terminal()

    def on_step(self, event: Mapping[str, Any]) -> None:
        self._clock.tick(event["step"])
        self._show(event)

    def on_epoch(self, row: Row) -> None:
        line = self._epoch_line(row)
        self._finished.append(line)
        if not self._console.is_jupyter:
            self._console.print(line, soft_wrap=True)
        self._show(None)

    def on_fit_end(self) -> None:
        self._close()
        self._show, self._close = _ignore, lambda: None

    def _open_terminal(self) -> None:
        live = Live(console=self._console, auto_refresh=False, transient=True)
        live.start()

        def show(event: Mapping[str, Any] | None) -> None:
            if event is not None:
                live.update(self._render(event), refresh=True)

        self._show, self._close = show, live.stop

    def _open_notebook(self) -> None:
        import IPython.display

        notebook: Any = IPython.display
        handle = notebook.display(notebook.HTML(""), display_id=True)

        def show(event: Mapping[str, Any] | None) -> None:
            handle.update(notebook.HTML(self._render_html(event)))

        self._show = show
        self._close = lambda: show(None)

    def _render(self, event: Mapping[str, Any]) -> Group:
        line = Table.grid(padding=(0, 2), expand=False)
        bar = Bar(self._clock.total, min(event["step"], self._clock.total), width=24)
        line.add_row(Text(self._title(event["epoch"]), style="bold"), bar, *self._measures(event))
        return Group(line)

    def _render_html(self, event: Mapping[str, Any] | None) -> str:
        lines = "<br>".join(html.escape(line) for line in self._finished)
        if event is not None:
            bar = f'<progress value="{event["step"]}" max="{self._clock.total}"></progress>'
            words = "&emsp;".join(html.escape(word) for word in self._measures(event))
            title = html.escape(self._title(event["epoch"]))
            lines += f"{'<br>' if lines else ''}<b>{title}</b> {bar}&emsp;{words}"
        return f'<div style="font-family: monospace; white-space: pre-wrap">{lines}</div>'

    def _title(self, epoch: int) -> str:
        return f"{self._name} epoch {epoch}/{self._total_epochs}".lstrip()

    def _measures(self, event: Mapping[str, Any]) -> list[str]:
        return [
            f"loss {event['loss']:.3f}",
            f"top-1 {100 * event['top1']:.1f}%",
            f"{event['images_per_s']:,.0f} images/s",
            f"{_clock_face(self._clock.left())} left",
        ]

    def _epoch_line(self, row: Row) -> str:
        parts = [self._title(int(row["epoch"] or 0)), *_losses("train", row)]
        if row["val_loss"] is not None:
            parts += _losses("val", row)
        parts += [f"{row['images_per_s'] or 0:,.0f} images/s", f"{row['seconds'] or 0:.1f} s"]
        return "  ".join(parts)


class _Clock:
    """Time left, from the pace since the first step that was seen: a resumed run has older ones."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)

    def tick(self, step: int) -> None:
        self._last = (step, time.monotonic())
        if self._first is None:
            self._first = self._last

    def left(self) -> float | None:
        """Seconds; None as long as there is no pace to tell."""
        if self._first is None or self._last[0] == self._first[0]:
            return None
        pace = (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])
        return max(0, self.total - self._last[0]) * pace


def _ignore(event: Mapping[str, Any] | None) -> None:
    """Where the output is a file there is nothing to draw between epochs."""


def _losses(side: str, row: Row) -> list[str]:
    loss, top1 = row[f"{side}_loss"], row[f"{side}_top1"]
    return [f"{side} loss {loss or 0:.3f}", f"top-1 {100 * (top1 or 0):.1f}%"]


def _clock_face(seconds: float | None) -> str:
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
