"""A training step of proprelu as a user gets it: `Trainer.fit`, with its loader and its metrics.

One endless `fit` runs epochs; a logger waits for the next request at the end of an epoch. The clock
includes all that a fit does: order, augmentation, step, metrics, begin and end of an epoch. It does
not include the capture.
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import proprelu
from harness.memory import peak_memory
from harness.system import System
from harness.talk import Talk
from torch import nn
from works.start import make_model, pixels
from works.steps import MOMENTUM, WEIGHT_DECAY, Work

from systems.augment import MEAN, STD

# Epochs of a fit that ends when the parent closes the pipe.
_ENDLESS = 10**12
_MEMORY_EPOCHS = {"cpu": 3, "cuda": 1}


class Finished(Exception):
    """The parent has closed the pipe."""


class Turns:
    """A logger that advances a conversation by one stop at the end of each epoch."""

    def __init__(self, stops: Iterator[None]) -> None:
        self._stops = stops

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        next(self._stops)

    def on_step(self, event: object) -> None: ...

    def on_epoch(self, row: object) -> None:
        if next(self._stops, self) is self:
            raise Finished

    def on_fit_end(self) -> None: ...


def serve(talk: Talk, system: System, device: str, work: Work, **others: Any) -> None:
    """Check, measure the memory, then answer requests."""
    options = trainer_options(system)
    model = make_model(work)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        start = time.perf_counter()
        losses = _first_losses(deepcopy(model), work, system, device)
        ready = {"losses": losses, "setup_s": time.perf_counter() - start}
        ready["version"] = proprelu.__version__
        even: dict[str, Any] = {"mean": [MEAN] * work.channels, "std": [STD] * work.channels}
        augment = proprelu.Augment(pad=work.pad, flip=True, **even) if work.pad else None
        turns = Turns(_stops(talk, work, device, ready, caught))
        trainer = _trainer(model, work, system, device, loggers=[turns], **options)
        data = proprelu.as_dataset(*pixels(work, work.batches))
        try:
            trainer.fit(data, epochs=_ENDLESS, batch_size=work.batch, augment=augment)
        except Finished:
            return


def trainer_options(system: System) -> dict[str, Any]:
    """The settings of a system that are not the default.

    Raises:
        RuntimeError: this version of proprelu does not have them.
    """
    settings = {"conv_algorithm": system.conv_algorithm, "memory": system.memory}
    known = inspect.signature(proprelu.Trainer).parameters
    options = {name: value for name, value in settings.items() if value != "auto"}
    for name in options.keys() - known.keys():
        raise RuntimeError(f"Trainer has no {name} in this version")
    return options


def _trainer(
    model: nn.Module, work: Work, system: System, device: str, **options: Any
) -> proprelu.Trainer:
    """Our trainer with the optimizer of all systems."""
    return proprelu.Trainer(
        model,
        proprelu.SGD(lr=work.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
        "constant",
        precision=system.precision,
        device=device,
        progress=False,
        **options,
    )


def _first_losses(model: nn.Module, work: Work, system: System, device: str) -> list[float]:
    """The losses on one batch without augmentation, where an epoch is one step."""
    data = proprelu.as_dataset(*pixels(work, 1))
    trainer = _trainer(model, work, system, device, **trainer_options(system))
    history = trainer.fit(data, epochs=work.checked_steps, batch_size=work.batch)
    return [float(loss) for loss in history.column("train_loss") if loss is not None]


def _stops(
    talk: Talk,
    work: Work,
    device: str,
    ready: dict[str, Any],
    caught: list[warnings.WarningMessage],
) -> Iterator[None]:
    """What happens between epochs; the fit continues at each `yield`."""
    if device == "cuda":
        yield  # the first launches and the capture
    memory = peak_memory(device)
    for _ in range(_MEMORY_EPOCHS[device]):
        yield
    notes = [str(warning.message) for warning in caught]
    talk.send(**ready, memory=memory.megabytes(), notes=notes)
    for _, steps in talk.requests():
        yield  # one epoch to warm up
        start = time.perf_counter()
        for _ in range(steps // work.batches):
            yield
        talk.send(ms=1e3 * (time.perf_counter() - start) / steps)
