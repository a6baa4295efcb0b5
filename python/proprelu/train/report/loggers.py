"""Loggers: the protocol that ``fit`` calls, and a logger for TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
        try:
            import torch.utils.tensorboard as tensorboard
        except ImportError:
            raise ImportError(
                "the TensorBoard logger needs tensorboard, which is not installed: "
                "pip install 'proprelu[tensorboard]'"
            ) from None
        self._tensorboard: Any = tensorboard
        self._log_dir = os.fspath(log_dir)
        self._writer: Any = None

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        self._writer = self._tensorboard.SummaryWriter(self._log_dir)

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
