"""The progress of a sweep: a bar for all runs with the time left, and one for each that trains."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn

from proprelu.progress import Bars
from proprelu.sweep.training import Run, Task
from proprelu.train import Logger

__all__ = ["SweepProgress", "as_time"]


class SweepProgress:
    """Shows how far a sweep is; a context that draws.

    Args:
        epochs: of each run.
        shown: whether to draw at all.
    """

    def __init__(self, epochs: int, shown: bool) -> None:
        self._epochs = epochs
        self._shown = shown
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            TextColumn("{task.fields[state]}", markup=False),
            TimeRemainingColumn(),
            shown=shown,
        )
        self._whole: TaskID | None = None
        self._runs = self._done = 0
        self._start, self._total, self._reached = time.monotonic(), 0, 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> SweepProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, finished: int, runs: int) -> None:
        """Tell how many runs there are, and how many of them are finished already."""
        self._runs, self._done = runs, finished
        total = (runs - finished) * self._epochs
        self._start, self._total, self._reached = time.monotonic(), total, 0.0
        if self._shown:
            self._bars.line(
                f"{_counted(runs, 'run')} of {_counted(self._epochs, 'epoch')}, "
                f"{finished} finished already"
            )
        if self._whole is None:
            self._whole = self._bars.add_task("all runs", total=total, state=self._state())
        else:
            self._bars.update(self._whole, total=total, completed=0, state=self._state())

    def watch(self, task: Task) -> Logger:
        """What the progress of a run is reported to."""
        return _OfRun(task.name, self._bars, self._epochs, self._advance)

    def finish(self, run: Run, name: str) -> None:
        """Tell that a run is finished."""
        self._done += 1
        if self._whole is not None:
            self._bars.update(self._whole, state=self._state())
        if self._shown:
            words = [] if run.val_top1 is None else [f"accuracy {100 * run.val_top1:.2f}%"]
            loss = float("nan") if run.val_loss is None else run.val_loss
            words += [f"validation loss {loss:.4f}", as_time(run.seconds)]
            words += [f"{run.note}"] if run.note else []
            self._bars.line(f"{name}: {', '.join(words)}; {self._state()}{self._left()}")

    def _advance(self, epochs: float) -> None:
        with self._lock:
            self._reached += epochs
            if self._whole is not None:
                self._bars.advance(self._whole, epochs)

    def _state(self) -> str:
        return f"{self._done} of {_counted(self._runs, 'run')}"

    def _left(self) -> str:
        """The time left, from that of all epochs until now."""
        if self._done == self._runs or not self._reached:
            return ""
        seconds = (time.monotonic() - self._start) * (self._total / self._reached - 1)
        return f", about {as_time(max(0.0, seconds))} left"


def as_time(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


class _OfRun:
    """Shows one run as a bar, as long as it trains."""

    def __init__(self, name: str, bars: Bars, epochs: int, advance: Any) -> None:
        self._name, self._bars, self._advance = name, bars, advance
        self._task: TaskID | None = None
        self._steps, self._epochs, self._reached = 1, epochs, 0.0

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        self._steps = max(1, steps_per_epoch)
        total = total_epochs * steps_per_epoch
        self._task = self._bars.add_task(self._name, total=total, state="")

    def on_step(self, event: Mapping[str, Any]) -> None:
        self._reach(event["step"] / self._steps)
        if self._task is not None:
            state = f"loss {event['loss']:.3f}"
            self._bars.update(self._task, completed=event["step"], state=state)

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        self._reach(float(row["epoch"]))

    def on_fit_end(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)

    def _reach(self, epochs: float) -> None:
        self._advance(max(0.0, epochs - self._reached))
        self._reached = max(self._reached, epochs)
