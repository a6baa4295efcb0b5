"""The time that the arithmetic of a step takes at the processor's peak rate.

The peak is what torch's largest matrix products reach. The arithmetic is that of convolutions and
linear layers: forward and two products in the backward, without the gradient of the images. An
algorithm with less arithmetic than the definition (Winograd's) may go below this floor.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor, nn

from side_by_side.reference import reference_losses
from side_by_side.start import export, make_model
from side_by_side.talk import Talk
from side_by_side.works import Work

_SIZE = 2048
_REPEATS = 8


def serve(work: Work, folder: Path, talk: Talk) -> None:
    """Export the start for other peers, count, find the losses; then answer with peaks."""
    if work.is_small_resnet:
        export(work, folder)
    losses, spread = reference_losses(work)
    talk.say(
        flops=step_flops(work),
        losses=losses,
        spread=spread,
        threads=torch.get_num_threads(),
        version=torch.__version__,
    )
    for _ in talk.requests():
        talk.say(fp32=peak(torch.float32), bf16=peak(torch.bfloat16))


def step_flops(work: Work) -> float:
    """Operations of one training step, two for each multiply-add."""
    macs: list[int] = []

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        macs.append(output.numel() * weight[0].numel())

    model = make_model(work)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(2, 3, work.size, work.size))
    return 2.0 * (3 * sum(macs) - macs[0]) * work.batch / 2


def peak(dtype: torch.dtype) -> float:
    """Operations a second of the fastest of some matrix products."""
    a, b = (torch.randn(_SIZE, _SIZE, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * _SIZE**3 / min(times)
