"""The losses that all systems have to come to, and how far rounding alone leads from them.

They are PyTorch's in float64. A deep network that learns a few images by heart magnifies each
rounding: PyTorch itself in float32 or bfloat16 comes to other losses, and to others again with the
images of a batch in another order. Nobody can be held to less than that.
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
    """PyTorch's losses of the first steps in float64, and its distance from them.

    The distance is relative, the largest up to each step, by precision.
    """
    _, labels = check_batch(work)
    unshuffled = torch.arange(len(labels))
    generator = torch.Generator().manual_seed(0)
    shuffled = [torch.randperm(len(labels), generator=generator) for _ in range(_ORDERS)]
    orders = (unshuffled, *shuffled)

    def losses(order: torch.Tensor, dtype: torch.dtype) -> list[float]:
        return _losses(work, order, dtype, device, steps)

    reference = losses(unshuffled, torch.float64)
    spread = {
        "fp32": [losses(order, torch.float32) for order in orders],
        "bf16": [losses(order, torch.bfloat16) for order in orders],
    }
    return reference, {name: _largest(runs, reference) for name, runs in spread.items()}


def _largest(runs: list[list[float]], reference: list[float]) -> list[float]:
    distances = [
        max(abs(loss - expected) / expected for loss in losses)
        for *losses, expected in zip(*runs, reference, strict=True)
    ]
    return list(accumulate(distances, max))


def _losses(
    work: Work, order: torch.Tensor, dtype: torch.dtype, device: str, steps: int
) -> list[float]:
    """In bfloat16 under autocast, else all in that type."""
    bf16 = dtype == torch.bfloat16
    own = torch.float32 if bf16 else dtype
    model = make_model(work).to(device, own).to(memory_format=torch.channels_last)
    images, labels = check_batch(work)
    images = images[order].to(device, own).contiguous(memory_format=torch.channels_last)
    labels = labels[order].to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=work.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    losses = []
    for _ in range(steps):
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            predictions = model(images)
        optimizer.zero_grad()
        loss = F.cross_entropy(predictions.to(own), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
