"""Passes the events of the loop on to the history and the loggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from proprelu.train.report.history import History, Row
from proprelu.train.report.loggers import Logger


class Observer:
    """Receives the events of the core; as a context it starts and ends the loggers.

    ``on_epoch_start`` is called before each epoch, with the number of finished epochs.
    """

    def __init__(
        self,
        loggers: Sequence[Logger],
        history: History,
        epochs: int,
        steps_per_epoch: int,
        on_epoch_start: Callable[[int], None] = lambda epoch: None,
    ) -> None:
        self.on_epoch_start = on_epoch_start
        self._loggers = loggers
        self._history = history
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._ends = ExitStack()

    def __enter__(self) -> Observer:
        # Every logger that was started is ended, even if another one raises.
        with ExitStack() as ends:
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
        for logger in self._loggers:
            logger.on_step(event)

    def on_epoch(self, row: Row) -> None:
        """Called after each epoch."""
        self._history.append(row)
        for logger in self._loggers:
            logger.on_epoch(self._history.last)
