"""How each run of a sweep trains, and one run."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from proprelu.convert import convert
from proprelu.data.as_dataset import converted
from proprelu.data.augment import Augment
from proprelu.data.feeds import TrainFeed, train_feed, validation_feed
from proprelu.data.torch_batches import TorchBatches
from proprelu.graph import RECTIFIERS
from proprelu.sweep.networks import Networks
from proprelu.sweep.seeded import seeded
from proprelu.sweep.variants import Variant
from proprelu.train import History, Logger, Trainer
from proprelu.train.captures import Captures
from proprelu.train.facts import facts_of, fingerprint
from proprelu.train.report.history import Row

__all__ = ["Run", "Task", "Training", "held", "train"]

# What identifies a network or a run, and not how it was trained.
_OF_A_RUN = ("plan", "seed")
# A run has three graphs: for its steps, and for evaluations on two sizes of batches.
_MOST_CAPTURES = 96
_READ_BY_TORCH = (DataLoader, TorchDataset, TorchBatches)


class Task(NamedTuple):
    """A run that is to be made: a variant with a seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        variant: what was trained.
        seed: its seed.
        rows: the measurements of each epoch; see ``History``.
        val_loss: the loss of the trained network on the validation data.
        val_top1: its accuracy there, a fraction of 1; None if there are no classes.
        train_loss: its loss on the training data, without augmentation.
        train_top1: its accuracy there.
        seconds: the time of the whole run, with its capture; those of a run that was interrupted
            count from where it was continued.
        threads: the threads that it trained with.
        note: what went wrong; empty if nothing did.
    """

    variant: Variant
    seed: int
    rows: tuple[Row, ...]
    val_loss: float | None
    val_top1: float | None
    train_loss: float | None
    train_top1: float | None
    seconds: float
    threads: int
    note: str = ""

    @property
    def images_per_s(self) -> float | None:
        """The median over the epochs, without the validation; None if no epoch ended."""
        speeds = [row["images_per_s"] or 0.0 for row in self.rows]
        return statistics.median(speeds) if speeds else None


@dataclass(frozen=True)
class Training:
    """What is the same in each run. The arguments are those of ``Trainer`` and its ``fit``.

    The runs of a variant share its captured graphs.
    """

    train: Any
    val: Any
    epochs: int
    batch_size: int
    options: Mapping[str, Any]
    augment: Augment | None = None
    example_input: object = None
    activations: Collection[str] = RECTIFIERS
    captures: Captures = field(default_factory=lambda: Captures(_MOST_CAPTURES))

    @property
    def draws(self) -> bool:
        """Whether the data draw random numbers of their own, from generators of the process."""
        return any(isinstance(data, _READ_BY_TORCH) for data in (self.train, self.val))

    def trainer(self, model: nn.Module, seed: int, loggers: list[Logger]) -> Trainer:
        """The trainer of a run."""
        trainer = Trainer(model, seed=seed, loggers=loggers, progress=False, **self.options)
        trainer.captures = self.captures
        return trainer

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """All that results depend on, as JSON types.

        Args:
            model: a network of the sweep.

        Raises:
            TypeError: see ``Trainer``.
            ValueError: see ``Trainer`` and its ``fit``.
        """
        trainer = self.trainer(model, 0, [])
        feed = self._feed(self.train, self.augment)
        val = fingerprint(self._feed(self.val))
        kinds = sorted(self.activations)
        facts = facts_of(trainer, feed, self.augment, ema=trainer.ema_settings, lesson=None)
        return {
            "model": type(model).__name__,
            **{name: value for name, value in facts.items() if name not in _OF_A_RUN},
            "val": val,
            "epochs": self.epochs,
            **({} if kinds == sorted(RECTIFIERS) else {"activations": kinds}),
        }

    def warned_of(self) -> list[str]:
        """What every run would warn of, because of the data.

        Raises:
            ValueError: images of one shape to train with and of another for the validation.
        """
        with seeded(0), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            validation_feed(self.val, train_feed(self.train, self.batch_size, self.augment))
        return list(dict.fromkeys(str(each.message) for each in caught))

    def convert(self, model: nn.Module, variant: Variant) -> None:
        """Make a network the one of a variant."""
        convert(
            model,
            "1:1",
            variant.keep,
            self.example_input,
            activations=self.activations,
            inplace=True,
        )

    def example(self) -> object:
        """A batch as it comes in use: one image, unless another is given."""
        if self.example_input is not None:
            return self.example_input
        return self._feed(self.train).images[:1]

    def _feed(self, data: Any, augment: Augment | None = None) -> TrainFeed:
        with seeded(0), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # see ``warned_of``
            return train_feed(data, self.batch_size, augment)


def held(name: str, data: Any, batch_size: int) -> Any:
    """The data as the core reads them, so that runs share them; those that torch reads as they are.

    Args:
        name: what they are, for errors.
        data: images and labels of any kind that ``as_dataset`` takes.
        batch_size: images in a step.

    Raises:
        TypeError: see ``as_dataset``.
        ValueError: see ``as_dataset``.
    """
    if data is None:
        raise ValueError(
            f"{name} must be images with labels, because a sweep measures both, got None"
        )
    try:
        found = converted(data, batch_size=batch_size)
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{name}: {error}") from error
    return data if isinstance(found, TorchBatches) else found


def train(
    task: Task,
    networks: Networks,
    training: Training,
    checkpoint: Path | None,
    logger: Logger,
) -> Run:
    """Make one run.

    Args:
        task: what is trained.
        networks: makes the network that it starts from.
        training: how it is trained.
        checkpoint: a file from which it is continued, if it exists.
        logger: shows the progress.
    """
    start = time.perf_counter()
    model = networks.of(task.seed)
    training.convert(model, task.variant)
    trainer = training.trainer(model.train(), task.seed, [logger])
    note = ""
    with seeded(task.seed) if training.draws else nullcontext():
        _seed_generators(training, task.seed)
        try:
            trainer.fit(
                training.train,
                training.val,
                epochs=training.epochs,
                batch_size=training.batch_size,
                augment=training.augment,
                checkpoint=checkpoint,
                resume=checkpoint if checkpoint is not None and checkpoint.exists() else None,
            )
        except FloatingPointError as error:  # a result as well
            note = str(error).partition(";")[0]  # the rest is about a checkpoint, which goes
        found = trainer.evaluate(training.train)
        val = trainer.evaluate(training.val) if note else _last(trainer.history)
    return Run(
        task.variant,
        task.seed,
        tuple(trainer.history),
        val["loss"],
        val["top1"],
        found["loss"],
        found["top1"],
        time.perf_counter() - start,
        torch.get_num_threads(),
        note,
    )


def _last(history: History) -> dict[str, float | None]:
    """The validation after the last epoch."""
    return {"loss": history.last["val_loss"], "top1": history.last["val_top1"]}


def _seed_generators(training: Training, seed: int) -> None:
    """Give loaders with a generator of their own the order of the seed."""
    for data in (training.train, training.val):
        generator = getattr(data, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
