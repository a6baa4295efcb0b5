"""PyTorch's side of the rounds."""

from __future__ import annotations

import time

import torch
from proprelu._core import Dataset
from side_by_side.start import check_batch, make_model, pixels
from side_by_side.talk import Talk
from torch import Tensor

from gpu.augment import no_draws, scale_and_shift
from gpu.device import PeakMemory, wait
from gpu.loader import Loaded
from gpu.resident import Resident
from gpu.systems import GpuSystem
from gpu.torch_training import TorchTraining
from gpu.works import CHECKED_STEPS, MEAN, STD, GpuWork

_MEMORY_STEPS = 8


def serve(work: GpuWork, system: GpuSystem, talk: Talk, place: torch.device) -> None:
    """Check, measure the memory, then answer requests."""
    start = time.perf_counter()
    model = make_model(work)
    training = TorchTraining(model, work.lr, work.pad, system, place)
    checked = _checked_batch(work, system, place)
    losses = [training.step(*checked).item() for _ in range(CHECKED_STEPS)]
    setup = time.perf_counter() - start
    del checked
    feed = _feed(work, system, place)
    for batch in feed.batches(feed.warm):
        training.step(*batch)
    memory = PeakMemory(place)
    for batch in feed.batches(_MEMORY_STEPS):
        training.step(*batch)
    talk.say(
        losses=losses,
        memory=memory.megabytes(),
        setup_s=setup,
        notes=_notes(system, feed),
    )
    for warm, steps in talk.requests():
        talk.say(ms=_milliseconds(training, feed, max(warm, feed.warm), steps, place))


def _milliseconds(
    training: TorchTraining, feed: Loaded | Resident, warm: int, steps: int, place: torch.device
) -> float:
    """Of a step, with its batch; `warm` more are run before."""
    batches = feed.batches(warm + steps)
    for _ in range(warm):
        training.step(*next(batches))
    wait(place)
    start = time.perf_counter()
    for batch in batches:
        training.step(*batch)
    wait(place)
    return 1e3 * (time.perf_counter() - start) / steps


def _feed(work: GpuWork, system: GpuSystem, place: torch.device) -> Loaded | Resident:
    images, labels = pixels(work, work.batches)
    if system.loader:
        return Loaded(work, images, labels, place)
    channels = images.shape[-1]
    normalization = ([MEAN] * channels, [STD] * channels)
    return Resident(images, labels, work.batch, work.pad, normalization, place)


def _checked_batch(work: GpuWork, system: GpuSystem, place: torch.device) -> tuple[Tensor, ...]:
    """The batch whose losses all systems have to agree on, where nothing is drawn."""
    if system.loader:
        images, labels = check_batch(work)
        return images.permute(0, 2, 3, 1).contiguous().to(place), labels.to(place)
    bytes_, numbers = pixels(work, 1)
    scale, shift = scale_and_shift(*Dataset.from_u8(bytes_, numbers).mean_std())
    batch = (
        torch.from_numpy(bytes_),
        torch.from_numpy(numbers),
        no_draws(work.batch, work.pad, place),
        scale,
        shift,
    )
    return tuple(tensor.to(place) for tensor in batch)


def _notes(system: GpuSystem, feed: Loaded | Resident) -> list[str]:
    """What a reader of the row should know."""
    notes = [f"{feed.workers} workers"] if isinstance(feed, Loaded) else []
    if system.compiled:
        from torch._dynamo.utils import counters

        # Not an interface of torch's, but the one way to hear of it.
        skipped = counters["inductor"]["cudagraph_skips"]
        notes += [f"{skipped} graphs run without a CUDA graph"] if skipped else []
    return notes
