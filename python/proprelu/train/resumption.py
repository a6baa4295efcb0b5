"""Where a training begins: anew, where another call of the trainer ended, or at a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from proprelu._core import TrainState
from proprelu.checks import as_count
from proprelu.train.facts import check_override, check_resumed, spanned

__all__ = ["Past", "Resumption"]


@dataclass(frozen=True)
class Past:
    """What a call of a trainer leaves for the next one.

    Attributes:
        counters: steps, epochs and rows.
        tensors: those of the optimizer and of the averages, by name.
    """

    counters: Mapping[str, Any]
    tensors: list[tuple[str, Tensor]]

    @classmethod
    def of(cls, state: TrainState) -> Past:
        """What a state leaves."""
        return cls(*state.memory())

    def restore(self, state: TrainState) -> int:
        """Let a new state of the same model go on, and return the epochs that are finished."""
        state.go_on(self.counters, self.tensors)
        return state.epoch


class Resumption:
    """The arguments of ``fit`` that say what a training continues.

    Args:
        path: the checkpoint, if any.
        override: what may differ from its training.
        schedule_epochs: the length of the schedule, if it is not that of the training.

    Raises:
        ValueError: an unknown name, a name without a checkpoint, or no length.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        override: Collection[str],
        schedule_epochs: int | None,
    ) -> None:
        self._path = path
        self._override = check_override(override)
        if self._override and path is None:
            raise ValueError("override must come with resume, whose checks it turns off")
        self._length = schedule_epochs
        if schedule_epochs is not None:
            self._length = as_count("schedule_epochs", schedule_epochs)

    def begin(
        self,
        state: TrainState,
        facts: Mapping[str, Any],
        epochs: int,
        schedule: Mapping[str, Any],
    ) -> tuple[int, int]:
        """Load the checkpoint, if any, into the state.

        Args:
            state: the state of the model that is trained.
            facts: what the training is like.
            epochs: the epoch with which it ends.
            schedule: the settings of its schedule.

        Returns:
            The epochs that the schedule spans.

        Raises:
            OSError: the checkpoint cannot be read.
            ValueError: it is damaged, or does not fit; the state is unchanged.
        """
        recorded: Mapping[str, Any] = {}
        if self._path is not None:
            recorded = TrainState.read_facts(self._path)
            check_resumed(self._path, recorded, facts, self._override)
            state.load(self._path)
        begin = state.epoch if self._path is None else 0
        return spanned(recorded, begin, epochs, self._length, schedule)
