"""Passes the events of the loop on to the history and the loggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any

from proprelu.train.report.history import History, Row
from proprelu.train.report.loggers import Logger


class Observer:
    """Receives the events of the core; as a context it starts and ends the loggers.

    Args:
        loggers: what receives them in turn.
        history: gets a row for each epoch.
        epochs: the epochs of the whole training.
        steps_per_epoch: the steps of each.
        on_epoch_start: called before each epoch, with the number of finished epochs.
        watching: returns a context in which the loggers of a user are called, at the ``"start"``,
            after a ``"step"`` or an ``"epoch"``, or at the ``"end"``, after the last one.
    """

    def __init__(
        self,
        loggers: Sequence[Logger],
        history: History,
        epochs: int,
        steps_per_epoch: int,
        on_epoch_start: Callable[[int], None] = lambda epoch: None,
        watching: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.on_epoch_start = on_epoch_start
        self._loggers = loggers
        self._history = history
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._ends = ExitStack()
        # Our own loggers change nothing but their output.
        foreign = any(not type(logger).__module__.startswith("proprelu.") for logger in loggers)
        self._watching = watching if foreign else nullcontext

    def __enter__(self) -> Observer:
        # Every logger that was started is ended, even if another one raises.
        with self._watching("start"), ExitStack() as ends:
            for logger in self._loggers:
                logger.on_fit_start(self._epochs, self._steps_per_epoch)
                ends.callback(logger.on_fit_end)
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.close()

    def on_step(self, event: Mapping[str, Any]) -> None:
        """Called after a step, some ten times a second."""
        with self._watching("step"):
            for logger in self._loggers:
                logger.on_step(event)

    def on_epoch(self, row: Row) -> None:
        """Called after each epoch."""
        self._history.append(row)
        with self._watching("epoch" if len(self._history) < self._epochs else "end"):
            for logger in self._loggers:
                logger.on_epoch(self._history.last)
