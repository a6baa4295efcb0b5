"""Forward and backward of a single layer, and its floor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from harness.cost import Cost
from harness.floor import serve_floor
from harness.memory import peak_memory
from harness.system import System
from harness.talk import Talk
from torch import Tensor
from works.plain import make_layer
from works.steps import Work

from systems.layers import LAYER_FLOOR
from systems.torch_training import layout_of

_MEMORY_STEPS = 2


def serve(talk: Talk, system: System, device: str, work: Work, **others: Any) -> None:
    """Check, measure the memory, then answer requests."""
    step, results = _stepper(work, system)
    if system == LAYER_FLOOR:
        # The backward of a product is two products more.
        cost = Cost(flops=3 * 2 * make_layer(work).macs)
        exact = [0.0] * len(results)
        serve_floor(talk, device, cost, results, {"fp32": exact, "bf16": exact})
        return
    step()  # off the clock: starting threads, tuning and packing
    memory = peak_memory(device)
    for _ in range(_MEMORY_STEPS):
        step()
    talk.send(losses=results, memory=memory.megabytes(), version=torch.__version__)
    for warm, steps in talk.requests():
        for _ in range(warm):
            step()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        talk.send(ms=1e3 * (time.perf_counter() - start) / steps)


def _stepper(work: Work, system: System) -> tuple[Callable[[], None], list[float]]:
    """A forward and backward, and a number for each of its results, the same for all systems."""
    torch.manual_seed(0)
    layer = make_layer(work)
    run = layer.ours if system.is_ours else layer.plain
    bf16 = system.precision == "bf16"
    dtype = torch.bfloat16 if bf16 else torch.float32
    layout = layout_of(system)
    x = torch.randn(work.batch, work.channels, work.size, work.size).to(dtype)
    x = x.contiguous(memory_format=layout).requires_grad_()
    module = layer.module
    parameters = [] if module is None else list(module.to(memory_format=layout).parameters())  # type: ignore[call-overload]

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
    results = (out, x.grad, *(p.grad for p in parameters))
    return step, [_fingerprint(tensor) for tensor in results]


def _fingerprint(tensor: Tensor | None) -> float:
    assert tensor is not None
    values = tensor.detach().double()
    mixed = torch.randn(values.shape, generator=torch.Generator().manual_seed(2)).double()
    return float(values.norm() + (values * mixed).sum() / values.norm().clamp_min(1e-30))
