"""Our training step, as a user gets it: `Trainer.fit`, with its loader and its metrics.

One endless `fit` whose epochs are as long as a turn; a logger waits for the next request at the
end of an epoch. So the capture is off the clock and all else is on it.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import proprelu
from torch import nn

from side_by_side.memory import PeakMemory
from side_by_side.start import make_model, pixels
from side_by_side.systems import System
from side_by_side.talk import Talk
from side_by_side.turns import FOR_EVER, Finished, Turns
from side_by_side.works import CHECKED_STEPS, MOMENTUM, WEIGHT_DECAY, Work

_MEMORY_EPOCHS = 3


def trainer_for(model: nn.Module, system: System, work: Work, **options: Any) -> proprelu.Trainer:
    """Our trainer with a system's settings and the optimizer of all systems."""
    if system.direct:
        options["conv_algorithm"] = "direct"
    if system.memory != "auto":
        options["memory"] = system.memory
    optimizer = proprelu.SGD(lr=work.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    return proprelu.Trainer(
        model, optimizer, "constant", precision=system.precision, progress=False, **options
    )


def cannot_run(system: System) -> str | None:
    """Why this version of ours cannot be that system."""
    settings = inspect.signature(proprelu.Trainer).parameters
    needed = {"conv_algorithm": system.direct, "memory": system.memory != "auto"}
    for setting, wanted in needed.items():
        if wanted and setting not in settings:
            return f"Trainer has no {setting} in this version"
    return None


def serve(work: Work, system: System, talk: Talk) -> None:
    """Check, measure the memory, then answer requests."""
    reason = cannot_run(system)
    if reason is not None:
        talk.say(skip=reason)
        return
    model = make_model(work)
    losses = _first_losses(deepcopy(model), work, system)
    data = proprelu.as_dataset(*pixels(work, work.steps))
    turns = Turns(_stops(talk, work, losses))
    trainer = trainer_for(model, system, work, loggers=[turns])
    try:
        trainer.fit(data, epochs=FOR_EVER, batch_size=work.batch)
    except Finished:
        return


def _first_losses(model: nn.Module, work: Work, system: System) -> list[float]:
    """An epoch is a step here, so that each row holds the loss of one."""
    data = proprelu.as_dataset(*pixels(work, 1))
    trainer = trainer_for(model, system, work)
    history = trainer.fit(data, epochs=CHECKED_STEPS, batch_size=work.batch)
    return [float(loss) for loss in history.column("train_loss")]


def _stops(talk: Talk, work: Work, losses: list[float]) -> Iterator[None]:
    """What happens between epochs; each `yield` lets one pass."""
    memory = PeakMemory()
    for _ in range(_MEMORY_EPOCHS):
        yield
    talk.say(losses=losses, peak_mb=memory.megabytes(), version=proprelu.__version__)
    for _, steps in talk.requests():
        assert steps == work.steps, "an epoch has the length of a turn"
        yield  # an epoch to warm up
        start = time.perf_counter()
        yield
        talk.say(ms=1e3 * (time.perf_counter() - start) / steps)
