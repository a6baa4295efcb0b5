"""The loop of the core, with what surrounds it in Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proprelu._core import Loader, TrainState
from proprelu.data.feeds import TrainFeed
from proprelu.data.stream import Stream
from proprelu.train.device.out_of_memory import memory_explained
from proprelu.train.draws import kept_cuda_generators
from proprelu.train.recipe.annealing import annealing
from proprelu.train.renewal import Renewal, Renewed
from proprelu.train.report.history import History
from proprelu.train.report.loggers import Loggers
from proprelu.train.report.observer import Observer
from proprelu.train.runner import step_bytes
from proprelu.train.session import Session

__all__ = ["Loop"]


@dataclass(frozen=True)
class Loop:
    """The epochs of one call of ``fit``.

    Attributes:
        session: the model with its loss on a device.
        feed: the batches of an epoch.
        val: the batches that are evaluated after each epoch.
        epochs: the epoch with which the training ends.
        schedule: the settings of the schedule.
        clip_grad_norm: the maximum norm of all gradients together.
        checkpoint: the file that is written after each epoch.
        facts: what it records about the training.
        stream: whether images in memory are copied to a GPU batch by batch; ``None`` to decide by
            its free memory.
        loggers: what the loop reports to.
    """

    session: Session
    feed: TrainFeed
    val: Loader | Stream | None
    epochs: int
    schedule: Mapping[str, Any]
    clip_grad_norm: float | None
    checkpoint: str | os.PathLike[str] | None
    facts: Mapping[str, Any]
    stream: bool | None
    loggers: Loggers

    def run(self, state: TrainState, renewal: Renewal, history: History) -> None:
        """Run the epochs that are left.

        Args:
            state: the state of the training, which is changed.
            renewal: computes the steps, with another capture after a change of the model.
            history: gets a row for each epoch.
        """
        device = self.session.device
        stream = not device.holds(self.feed.nbytes) if self.stream is None else self.stream
        observer = Observer(
            self.loggers,
            history,
            self.epochs,
            len(self.feed.batches),
            self.session.draws.start,
            renewal.watching,
        )
        explained = memory_explained(
            device.device,
            len(self.feed.images),
            needed=lambda: step_bytes(renewal.runner),
            free=device.free_bytes,
        )
        generators = kept_cuda_generators(device.generators)
        slopes = annealing(self.session.model, len(self.feed.batches))
        with explained, generators, slopes, observer:
            while not self._ends(state, renewal, observer, resident=not stream):
                pass

    def _ends(
        self, state: TrainState, renewal: Renewal, observer: Observer, *, resident: bool
    ) -> bool:
        """Train to the end, or until the next epoch needs another capture."""
        device = self.session.device
        renewal.renew()
        try:
            state.fit(
                renewal.runner,
                self.feed.batches,
                self.val,
                observer,
                epochs=self.epochs,
                schedule=self.schedule,
                schedule_epochs=self.facts["schedule_epochs"],
                facts=self.facts,
                clip_grad_norm=self.clip_grad_norm,
                checkpoint=self.checkpoint,
                graphs=device.graphs(),
                resident=resident,
                device=device.kernels,
            )
        except Renewed:
            return False
        return True
