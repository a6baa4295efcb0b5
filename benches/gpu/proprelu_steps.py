"""Our side of the rounds: `Trainer.fit` as a user gets it, one that never ends.

A turn is some epochs; a logger waits for the next request at the end of one. On the clock is all
that a fit does: order, augmentation, step, metrics, and what begins and ends an epoch. The capture
is off it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import proprelu
import torch
from proprelu._core import Dataset
from side_by_side.start import make_model, pixels
from side_by_side.talk import Talk
from side_by_side.turns import FOR_EVER, Finished, Turns
from side_by_side.works import MOMENTUM, WEIGHT_DECAY
from torch import nn

from gpu.device import PeakMemory
from gpu.systems import GpuSystem
from gpu.works import CHECKED_STEPS, MEAN, STD, GpuWork


def serve(work: GpuWork, system: GpuSystem, talk: Talk, place: torch.device) -> None:
    """Check, measure the memory, then answer requests."""
    model = make_model(work)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        start = time.perf_counter()
        losses = _first_losses(deepcopy(model), work, system, place)
        setup = time.perf_counter() - start
        data = Dataset.from_u8(*pixels(work, work.batches))
        channels = data.shape[-1]
        augment = proprelu.Augment(
            pad=work.pad, flip=True, mean=[MEAN] * channels, std=[STD] * channels
        )
        ready = {"losses": losses, "setup_s": setup}
        turns = Turns(_stops(talk, work, place, ready, told))
        trainer = trainer_for(model, work, system, place, loggers=[turns])
        try:
            trainer.fit(data, epochs=FOR_EVER, batch_size=work.batch, augment=augment)
        except Finished:
            return


def trainer_for(
    model: nn.Module, work: GpuWork, system: GpuSystem, place: torch.device, **options: Any
) -> proprelu.Trainer:
    """Our trainer with the optimizer of all systems."""
    return proprelu.Trainer(
        model,
        proprelu.SGD(lr=work.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
        "constant",
        precision=system.precision,
        device=place,
        memory="low" if system.low_memory else "normal",
        progress=False,
        **options,
    )


def _first_losses(
    model: nn.Module, work: GpuWork, system: GpuSystem, place: torch.device
) -> list[float]:
    """On one batch and without augmentation; an epoch is a step, so each row has its loss."""
    data = Dataset.from_u8(*pixels(work, 1))
    trainer = trainer_for(model, work, system, place)
    history = trainer.fit(data, epochs=CHECKED_STEPS, batch_size=work.batch)
    return [float(loss) for loss in history.column("train_loss") if loss is not None]


def _stops(
    talk: Talk,
    work: GpuWork,
    place: torch.device,
    ready: dict[str, Any],
    told: Sequence[warnings.WarningMessage],
) -> Iterator[None]:
    """What happens between epochs; each `yield` lets one pass."""
    yield  # the first launches and the capture
    memory = PeakMemory(place)
    yield
    talk.say(**ready, memory=memory.megabytes(), notes=[str(note.message) for note in told])
    for _, steps in talk.requests():
        yield  # an epoch to warm up
        start = time.perf_counter()
        for _ in range(steps // work.batches):
            yield
        talk.say(ms=1e3 * (time.perf_counter() - start) / steps)
