"""The child that knows the floor: what the device reaches, what a step costs, and its losses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from side_by_side.reference import reference_losses
from side_by_side.start import make_model
from side_by_side.talk import Talk
from torch import Tensor, nn

from gpu.cost import Cost, Layer, step_cost
from gpu.device import free_gb, machine, wait
from gpu.works import CHECKED_STEPS, GpuWork

# Bytes of the copied block and the side of the multiplied matrices, on a GPU and on a CPU.
_COPIED = {"cuda": 2**30, "cpu": 2**22}
_SIDE = {"cuda": 8192, "cpu": 256}
_REPEATS = 30


def serve(work: GpuWork, talk: Talk, place: torch.device) -> None:
    """Say all of it, then for each request what memory is free."""
    # The losses in float32 are to be those of float32.
    torch.backends.cudnn.allow_tf32 = False
    cost = cost_of(work)
    peaks = {"flops": matmul_flops(place), "bytes": copied_bytes(place)}
    losses, spread = reference_losses(work, place.type, CHECKED_STEPS)
    if place.type == "cuda":
        torch.cuda.empty_cache()
    talk.say(**machine(place), cost=asdict(cost), peaks=peaks, losses=losses, spread=spread)
    for _ in talk.requests():
        talk.say(free_gb=free_gb(place))


def cost_of(work: GpuWork) -> Cost:
    """Of a step, from a forward of one image without values."""
    layers: list[Layer] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        layers.append(Layer(inputs[0].numel(), output.numel(), output.numel() * weight[0].numel()))

    model = make_model(work).eval().to("meta")
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(note)
    with torch.no_grad():
        model(torch.zeros(1, 3, work.size, work.size, device="meta"))
    return step_cost(layers, sum(p.numel() for p in model.parameters()), work.batch)


def matmul_flops(place: torch.device) -> float:
    """Operations a second of a large product in bfloat16."""
    side = _SIDE[place.type]
    a, b = (torch.randn(side, side, device=place, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * side**3 / _shortest(lambda: torch.mm(a, b, out=out), place)


def copied_bytes(place: torch.device) -> float:
    """Bytes a second that a large copy reads and writes."""
    block = torch.zeros(_COPIED[place.type], dtype=torch.uint8, device=place)
    other = torch.empty_like(block)
    return 2 * block.numel() / _shortest(lambda: other.copy_(block), place)


def _shortest(call: Callable[[], object], place: torch.device) -> float:
    """Seconds of the fastest of many."""
    times = []
    for _ in range(_REPEATS):
        wait(place)
        start = time.perf_counter()
        call()
        wait(place)
        times.append(time.perf_counter() - start)
    return min(times)
