"""Trains several networks at the same time, each on its share of the cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn

from proprelu.progress import Bars
from proprelu.sweep.executor import LocalThreads
from proprelu.train import History, Logger


class Job(NamedTuple):
    """One training.

    Attributes:
        name: its name beside the progress bar.
        train: trains with a logger that shows the progress; returns the history.
    """

    name: str
    train: Callable[[Logger], History]


def train_together(jobs: Sequence[Job], console: Console) -> list[History]:
    """Train all jobs, as many at a time as torch has threads.

    A small network gains more from training beside others than from more threads of its own.

    Args:
        jobs: the trainings. The first error ends all of them and is raised.
        console: where progress is shown.

    Returns:
        The histories, in the order of the jobs.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(24),
        TextColumn("{task.fields[state]}", markup=False),
        TimeRemainingColumn(),
    )
    workers = LocalThreads(min(len(jobs), torch.get_num_threads()))
    with Bars(*columns, console=console) as bars:

        def train(number: int, progress: Logger) -> tuple[int, History]:
            return number, jobs[number].train(progress)

        def watch(number: int) -> Logger:
            return _Progress(jobs[number].name, bars)

        with closing(workers.run(range(len(jobs)), train, watch)) as finished:
            histories = dict(finished)
    return [histories[number] for number in range(len(jobs))]


class _Progress:
    """Shows one training as a bar among others."""

    def __init__(self, name: str, bars: Bars) -> None:
        self._name, self._bars = name, bars
        self._task: TaskID | None = None

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        total = total_epochs * steps_per_epoch
        self._task = self._bars.add_task(self._name, total=total, state="")

    def on_step(self, event: Mapping[str, Any]) -> None:
        if self._task is not None:
            state = f"loss {event['loss']:.3f}"
            self._bars.update(self._task, completed=event["step"], state=state)

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        words = [f"{self._name}, epoch {row['epoch']}: training loss {row['train_loss']:.3f}"]
        if row["val_top1"] is not None:
            words.append(f"validation loss {row['val_loss']:.3f}")
            words.append(f"accuracy {100 * row['val_top1']:.1f}%")
        self._bars.line(", ".join(words))

    def on_fit_end(self) -> None:
        pass
