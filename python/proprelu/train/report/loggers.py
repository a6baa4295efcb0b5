"""Loggers: the protocol that ``fit`` calls, and a logger for TensorBoard."""

from __future__ import annotations

import copy
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from proprelu.train.report.history import Row


@runtime_checkable
class Logger(Protocol):
    """The methods that ``Trainer`` calls during ``fit``, in this order; all return ``None``.

    An exception that one of them raises ends ``fit`` and reaches its caller.
    """

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        """Called before the first step. In a resumed run the steps do not start at 1."""

    def on_step(self, event: Mapping[str, Any]) -> None:
        """Called after a step, at most about ten times a second.

        Args:
            event: ``step`` (optimizer updates so far), ``epoch`` (from 1), ``lr``, ``loss`` and
                ``top1`` (means over the epoch so far; top1 is a fraction of 1), ``images_per_s``.
        """

    def on_epoch(self, row: Row) -> None:
        """Called after each epoch and its validation, with the row of the ``History``."""

    def on_fit_end(self) -> None:
        """Called when ``fit`` has ended, also if it was interrupted or failed."""


class TensorBoard:
    """Writes the measurements of a run for TensorBoard; needs the extra ``tensorboard``.

    Losses and accuracies are written once an epoch, the running training loss more often; their
    axis is the number of steps.

    Args:
        log_dir: the folder for the event file; created if absent.

    Raises:
        ImportError: tensorboard is not installed.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        _tensorboard()
        self._log_dir = os.fspath(log_dir)
        self._writer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # A writer holds a thread, and belongs to one training.
        return {**self.__dict__, "_writer": None}

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        self._writer = _tensorboard().SummaryWriter(self._log_dir)

    def on_step(self, event: Mapping[str, Any]) -> None:
        self._writer.add_scalar("loss/running", event["loss"], event["step"])

    def on_epoch(self, row: Row) -> None:
        for name, value in row.items():
            if value is None or name in ("epoch", "step"):
                continue
            side, _, measure = name.partition("_")
            tag = f"{measure}/{side}" if side in ("train", "val") else name
            self._writer.add_scalar(tag, value, row["step"])
        self._writer.flush()

    def on_fit_end(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Loggers(list[Logger]):
    """The loggers of a trainer. Where it is copied or pickled, one that cannot be is left out."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Loggers:
        return self._passed(lambda logger: copy.deepcopy(logger, memo))

    def __reduce__(self) -> tuple[type[Loggers], tuple[list[Logger]]]:
        def same(logger: Logger) -> Logger:
            pickle.dumps(logger)
            return logger

        return Loggers, (list(self._passed(same)),)

    def _passed(self, through: Callable[[Logger], Logger]) -> Loggers:
        passed = Loggers()
        for logger in self:
            try:
                passed.append(through(logger))
            except Exception as error:
                warnings.warn(
                    f"{type(logger).__name__} is left out of the copy of the trainer, because a "
                    f"logger of this kind cannot be copied: {error}",
                    stacklevel=2,
                )
        return passed


def _tensorboard() -> Any:
    try:
        import torch.utils.tensorboard as tensorboard
    except ImportError:
        raise ImportError(
            "the TensorBoard logger needs tensorboard, which is not installed: "
            "pip install 'proprelu[tensorboard]'"
        ) from None
    return tensorboard
