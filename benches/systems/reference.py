"""The losses that all systems have to reach, and how far rounding alone leads from them.

They are PyTorch's in float64. A deep network that overfits a few images magnifies each rounding:
PyTorch itself reaches other losses in float32 or bfloat16, and others again with the images of a
batch in another order. No system can be expected to come closer than that.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch.nn import functional as F
from works.start import check_batch, make_model
from works.steps import MOMENTUM, WEIGHT_DECAY, Work

_ORDERS = 3


def reference_losses(work: Work, device: str) -> tuple[list[float], dict[str, list[float]]]:
    """PyTorch's losses of the first steps in float64, and its distance from them.

    The distance is relative, the largest up to each step, by precision.
    """
    _, labels = check_batch(work)
    unshuffled = torch.arange(len(labels))
    generator = torch.Generator().manual_seed(0)
    shuffled = [torch.randperm(len(labels), generator=generator) for _ in range(_ORDERS)]
    orders = (unshuffled, *shuffled)
    reference = _losses(work, unshuffled, torch.float64, device)
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return reference, {
        name: _largest([_losses(work, order, dtype, device) for order in orders], reference)
        for name, dtype in dtypes.items()
    }


def _largest(runs: list[list[float]], reference: list[float]) -> list[float]:
    distances = [
        max(abs(loss - expected) / expected for loss in losses)
        for *losses, expected in zip(*runs, reference, strict=True)
    ]
    return list(accumulate(distances, max))


def _losses(work: Work, order: torch.Tensor, dtype: torch.dtype, device: str) -> list[float]:
    """The losses with all computed in a type, or for bfloat16 under autocast."""
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
    for _ in range(work.checked_steps):
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            predictions = model(images)
        optimizer.zero_grad()
        loss = F.cross_entropy(predictions.to(own), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
