"""A system in a process of its own: `child.py WORK SYSTEM`; see side_by_side/child.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from side_by_side.floor import peak
from side_by_side.memory import PeakMemory
from side_by_side.talk import Talk
from torch import Tensor

from single_layers.systems import System, system_named
from single_layers.works import Work, work_named

_MEMORY_STEPS = 2


def main() -> None:
    talk = Talk()
    work = work_named(sys.argv[1])
    if sys.argv[2] == "floor":
        _serve_peaks(talk)
        return
    system = system_named(sys.argv[2])
    step, told = _stepper(work, system)
    step()  # threads, tuning and packing are not the step's
    memory = PeakMemory()
    for _ in range(_MEMORY_STEPS):
        step()
    talk.say(results=told, peak_mb=memory.megabytes(), version=torch.__version__)
    for warm, steps in talk.requests():
        for _ in range(warm):
            step()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        talk.say(ms=1e3 * (time.perf_counter() - start) / steps)


def _serve_peaks(talk: Talk) -> None:
    talk.say(threads=torch.get_num_threads())
    for _ in talk.requests():
        talk.say(fp32=peak(torch.float32), bf16=peak(torch.bfloat16))


def _stepper(work: Work, system: System) -> tuple[Callable[[], None], list[float]]:
    """A forward and backward, and what comes out of one, in numbers that all systems share."""
    torch.manual_seed(0)
    layer, ours, plain = work.make()
    run = ours if system.is_ours else plain
    bf16 = system.precision == "bf16"
    dtype = torch.bfloat16 if bf16 else torch.float32
    layout = torch.channels_last if system.channels_last else torch.contiguous_format
    x = torch.randn(work.batch, work.channels, work.size, work.size).to(dtype)
    x = x.contiguous(memory_format=layout).requires_grad_()
    parameters = [] if layer is None else list(layer.to(memory_format=layout).parameters())

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return run(x)

    out = forward()
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    if out.ndim == 4:
        grad = grad.contiguous(memory_format=layout)

    def step() -> None:
        for tensor in (x, *parameters):
            tensor.grad = None
        forward().backward(grad)

    step()
    told = [_fingerprint(tensor) for tensor in (out, x.grad, *(p.grad for p in parameters))]
    return step, told


def _fingerprint(tensor: Tensor | None) -> float:
    assert tensor is not None
    values = tensor.detach().double()
    mixed = torch.randn(values.shape, generator=torch.Generator().manual_seed(2)).double()
    return float(values.norm() + (values * mixed).sum() / values.norm().clamp_min(1e-30))


if __name__ == "__main__":
    main()
