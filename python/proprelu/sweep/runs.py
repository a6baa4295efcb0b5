"""The runs of a sweep: those that are missing are made, kept and shown."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proprelu.figures import LiveFigure
from proprelu.sweep.costs import costs_of
from proprelu.sweep.executor import Executor
from proprelu.sweep.halving import rounds
from proprelu.sweep.networks import Networks
from proprelu.sweep.progress import SweepProgress
from proprelu.sweep.results import SweepResults
from proprelu.sweep.store import Store
from proprelu.sweep.summary import measure_of
from proprelu.sweep.training import Run, Task, Training
from proprelu.sweep.training import train as train_run
from proprelu.sweep.variants import Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Runs"]


class Runs:
    """Makes the runs that are missing in a store."""

    def __init__(
        self,
        store: Store,
        networks: Networks,
        training: Training,
        executor: Executor,
        progress: bool,
    ) -> None:
        self._store, self._networks, self._training = store, networks, training
        self._executor = executor
        self._progress = progress
        self._found = {(run.variant, run.seed): run for run in store.runs()}

    def make(self, variants: Sequence[Variant], seeds: Sequence[int], budget: int | None) -> None:
        """Make the runs, round by round."""
        figure, before = LiveFigure(), len(self._found)
        try:
            self._make(variants, seeds, budget, figure)
        finally:
            if self._progress and len(self._found) > before:
                figure.draw(self._draw, last=True)

    def _make(
        self,
        variants: Sequence[Variant],
        seeds: Sequence[int],
        budget: int | None,
        figure: LiveFigure,
    ) -> None:
        with SweepProgress(self._training.epochs, self._progress) as progress:
            for tasks in rounds(variants, seeds, budget, self._score):
                missing = [task for task in tasks if (task.variant, task.seed) not in self._found]
                progress.begin(len(tasks) - len(missing), len(tasks))
                made = self._executor.run(missing, self._train, progress.watch)
                with closing(made) as runs:
                    for run in runs:
                        self._keep(run)
                        progress.finish(run, Task(run.variant, run.seed).name)
                        if self._progress:
                            figure.draw(self._draw)

    def measure(self, variants: Sequence[Variant], seed: int) -> None:
        """Measure what networks cost in use, all in turn, when no run is under way any more."""
        if any(variant not in self._store.costs for variant in variants):
            example = self._training.example()
            self._store.set_costs(
                costs_of(self._networks, seed, variants, example, self._training.convert)
            )
        self._store.drop_running()

    def _draw(self) -> Figure:
        return SweepResults.of(self._store).plot()

    def _train(self, task: Task, logger: Any) -> Run:
        return train_run(task, self._networks, self._training, self._checkpoint(task), logger)

    def _keep(self, run: Run) -> None:
        self._store.add(run)
        self._found[run.variant, run.seed] = run
        checkpoint = self._checkpoint(Task(run.variant, run.seed))
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)

    def _score(self, variant: Variant, seeds: Sequence[int]) -> float:
        """The mean accuracy with some seeds; the negative loss where there are no classes."""
        runs = [self._found[variant, seed] for seed in seeds]
        if measure_of(list(self._found.values())) == "loss":
            return -sum(float("inf") if r.val_loss is None else r.val_loss for r in runs)
        return sum(run.val_top1 or 0.0 for run in runs)

    def _checkpoint(self, task: Task) -> Path | None:
        """The file from which a run is continued."""
        folder = self._store.running
        if folder is None:
            return None
        mask = "".join("01"[keep] for keep in task.variant.keep)
        return folder / f"{int(mask, 2):x}-{task.seed}.safetensors"
