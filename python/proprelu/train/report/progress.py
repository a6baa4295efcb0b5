"""The progress bar of ``fit``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from proprelu.progress import Bars
from proprelu.train.report.history import Row

__all__ = ["ProgressBar"]


class ProgressBar:
    """A logger that shows epoch, loss, accuracy, images/s and remaining time while ``fit`` runs.

    In a terminal and in Jupyter the last line is live, with one line above it for each finished
    epoch. Only those lines are written to a file, a pipe or a dumb terminal. Everything goes to
    standard error, so that standard output stays free for results.

    Args:
        name: a word before each line, to distinguish several runs.
        console: where to write; standard error by default.
    """

    def __init__(self, name: str = "", console: Console | None = None) -> None:
        self._name = name
        self._console = console
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._epochs = 0
        self._steps = 0

    def __getstate__(self) -> dict[str, Any]:
        # What draws holds locks.
        return {**self.__dict__, "_bars": None, "_console": None}

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        self._epochs = total_epochs
        self._steps = total_epochs * steps_per_epoch
        self._task = None
        self._bars = Bars(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(24),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TextColumn("top-1 {task.fields[top1]:.1%}"),
            TextColumn("{task.fields[images_per_s]:,.0f} images/s"),
            _TimeLeft(compact=True),
            console=self._console,
            transient=True,
            auto_refresh=False,
        )
        self._bars.start()

    def on_step(self, event: Mapping[str, Any]) -> None:
        assert self._bars is not None
        title, step = self._title(event["epoch"]), event["step"]
        measures = {name: event[name] for name in ("loss", "top1", "images_per_s")}
        if self._task is None:
            # The steps of a resumed run do not count for the speed.
            self._task = self._bars.add_task(title, total=self._steps, completed=step, **measures)
        else:
            self._bars.update(
                self._task, completed=step, description=title, refresh=True, **measures
            )

    def on_epoch(self, row: Row) -> None:
        assert self._bars is not None
        parts = [self._title(int(row["epoch"] or 0)), *_measures("train", row)]
        if row["val_loss"] is not None:
            parts += _measures("val", row)
        parts += [f"{row['images_per_s'] or 0:,.0f} images/s", f"{row['seconds'] or 0:.1f} s"]
        self._bars.line("  ".join(parts))

    def on_fit_end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _title(self, epoch: int) -> str:
        return f"{self._name} epoch {epoch}/{self._epochs}".lstrip()


class _TimeLeft(TimeRemainingColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{super().render(task)} left")


def _measures(split: str, row: Row) -> list[str]:
    loss, top1 = row[f"{split}_loss"], row[f"{split}_top1"]
    return [f"{split} loss {loss or 0:.3f}", f"top-1 {100 * (top1 or 0):.1f}%"]
