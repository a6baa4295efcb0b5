"""The losses that all systems have to come to, and how far rounding alone leads from them.

A deep network that learns a few images by heart magnifies each rounding: PyTorch itself, given the
images of a batch in another order or in bfloat16, comes to other losses. Nobody can be held to
less than that.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch.nn import functional as F

from side_by_side.start import check_batch, make_model
from side_by_side.works import CHECKED_STEPS, MOMENTUM, WEIGHT_DECAY, Work

_ORDERS = 3


def reference_losses(
    work: Work, device: str = "cpu", steps: int = CHECKED_STEPS
) -> tuple[list[float], dict[str, list[float]]]:
    """PyTorch's losses of the first steps in float32, and its own distance from them.

    The distance is relative, the largest up to each step, by precision.
    """
    _, labels = check_batch(work)
    unshuffled = torch.arange(len(labels))
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(labels), generator=generator) for _ in range(_ORDERS)]

    def losses(order: torch.Tensor, bf16: bool) -> list[float]:
        return _losses(work, order, bf16, device, steps)

    reference = losses(unshuffled, bf16=False)
    spread = {
        "fp32": [losses(order, bf16=False) for order in orders],
        "bf16": [losses(order, bf16=True) for order in (unshuffled, *orders)],
    }
    return reference, {name: _largest(runs, reference) for name, runs in spread.items()}


def _largest(runs: list[list[float]], reference: list[float]) -> list[float]:
    distances = [
        max(abs(loss - expected) / expected for loss in losses)
        for *losses, expected in zip(*runs, reference, strict=True)
    ]
    return list(accumulate(distances, max))


def _losses(work: Work, order: torch.Tensor, bf16: bool, device: str, steps: int) -> list[float]:
    model = make_model(work).to(device).to(memory_format=torch.channels_last)
    images, labels = check_batch(work)
    images = images[order].to(device).contiguous(memory_format=torch.channels_last)
    labels = labels[order].to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=work.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    losses = []
    for _ in range(steps):
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            predictions = model(images)
        optimizer.zero_grad()
        loss = F.cross_entropy(predictions.float(), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
