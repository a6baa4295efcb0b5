"""A training step in PyTorch's loop: on a batch in memory, or with the loop's data on a GPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any

import torch
from harness.machine import wait
from harness.memory import peak_memory
from harness.system import System
from harness.talk import Talk
from torch import Tensor
from works.start import check_batch, make_model, normalization, pixels
from works.steps import Work

from systems.augment import MEAN, STD, no_draws, scale_and_shift
from systems.loader import Loaded
from systems.resident import Resident
from systems.torch_training import TorchTraining, layout_of

_MEMORY_STEPS = {"cpu": 3, "cuda": 8}


class Repeated:
    """One batch in memory, again and again."""

    warm = 0

    def __init__(self, batch: tuple[Tensor, ...]) -> None:
        self._batch = batch

    def batches(self, count: int) -> Iterator[tuple[Tensor, ...]]:
        return repeat(self._batch, count)


def serve(talk: Talk, system: System, device: str, work: Work, **others: Any) -> None:
    """Check, measure the memory, then answer requests."""
    start = time.perf_counter()
    training = TorchTraining(make_model(work), work.lr, work.pad, system, device)
    checked = _checked_batch(work, system, device)
    losses = [training.step(*checked).item() for _ in range(work.checked_steps)]
    setup = time.perf_counter() - start
    feed = Repeated(checked) if system.feed == "memory" else _feed(work, system, device)
    del checked
    for batch in feed.batches(feed.warm):
        training.step(*batch)
    if device == "cpu":
        training.forget()
    memory = peak_memory(device)
    for batch in feed.batches(_MEMORY_STEPS[device]):
        training.step(*batch)
    talk.send(
        losses=losses,
        memory=memory.megabytes(),
        setup_s=setup,
        notes=_notes(system, feed),
        version=torch.__version__,
    )
    for warm, steps in talk.requests():
        warm = max(warm, feed.warm)
        batches = feed.batches(warm + steps)
        for batch in islice(batches, warm):
            training.step(*batch)
        wait(device)
        start = time.perf_counter()
        for batch in batches:
            training.step(*batch)
        wait(device)
        talk.send(ms=1e3 * (time.perf_counter() - start) / steps)


def _feed(work: Work, system: System, device: str) -> Loaded | Resident:
    images, labels = pixels(work, work.batches)
    if system.feed == "loader":
        return Loaded(work, images, labels, device)
    even = [MEAN] * work.channels, [STD] * work.channels
    return Resident(images, labels, work.batch, work.pad, even, device)


def _checked_batch(work: Work, system: System, device: str) -> tuple[Tensor, ...]:
    """The batch of the checked steps, without augmentation."""
    if system.feed != "resident":
        images, labels = check_batch(work)
        return images.contiguous(memory_format=layout_of(system)).to(device), labels.to(device)
    batch = (
        *(torch.from_numpy(array) for array in pixels(work, 1)),
        no_draws(work.batch, work.pad, device),
        *scale_and_shift(*normalization(work)),
    )
    return tuple(tensor.to(device) for tensor in batch)


def _notes(system: System, feed: Repeated | Loaded | Resident) -> list[str]:
    """Remarks for the report."""
    notes = [f"{feed.workers} workers"] if isinstance(feed, Loaded) else []
    if system.compiled and not system.is_ours:
        from torch._dynamo.utils import counters

        # A private interface of torch, but there is no other way to read the count.
        skipped = counters["inductor"]["cudagraph_skips"]
        notes += [f"{skipped} graphs run without a CUDA graph"] if skipped else []
    return notes
