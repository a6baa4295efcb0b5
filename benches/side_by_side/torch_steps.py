"""A training step in PyTorch's loop, on batches that are in memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from side_by_side.memory import PeakMemory
from side_by_side.start import check_batch, make_model
from side_by_side.systems import OURS, System
from side_by_side.talk import Talk
from side_by_side.works import CHECKED_STEPS, MOMENTUM, WEIGHT_DECAY, Work

_MEMORY_STEPS = 3


def serve(work: Work, system: System, talk: Talk) -> None:
    """Check, measure the memory, then answer requests."""
    layout = torch.channels_last if system.channels_last else torch.contiguous_format
    model = make_model(work).to(memory_format=layout)
    images, labels = check_batch(work)
    images = images.contiguous(memory_format=layout)
    # Of torch's three ways the fused one is the fastest on a CPU.
    optimizer = torch.optim.SGD(
        model.parameters(), lr=work.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True
    )

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=system.precision == "bf16"):
            predictions = model(images)
        return F.cross_entropy(predictions.float(), labels)

    # Forward and loss as one graph; its backward is compiled with it.
    backend = OURS if system.is_ours else "inductor"
    forward: Callable[[Tensor, Tensor], Tensor] = (
        torch.compile(loss_of, backend=backend) if system.compiled else loss_of
    )

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = forward(images, labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    losses = [step().item() for _ in range(CHECKED_STEPS)]
    optimizer.zero_grad()
    optimizer.state.clear()
    memory = PeakMemory()
    for _ in range(_MEMORY_STEPS):
        step()
    talk.say(losses=losses, peak_mb=memory.megabytes(), version=torch.__version__)
    for warm, steps in talk.requests():
        for _ in range(warm):
            step()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        talk.say(ms=1e3 * (time.perf_counter() - start) / steps)
