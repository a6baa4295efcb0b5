"""What a device reaches at most: operations, and bytes of a copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from proprelu import _core

from harness.cost import Cost
from harness.machine import machine, wait
from harness.talk import Talk

# Side of the matrices that a GPU multiplies, and how often.
_SIDE = 8192
_REPEATS = 30
_COPIED_BYTES = 2**30


def serve_floor(
    talk: Talk,
    device: str,
    cost: Cost,
    losses: list[float],
    spread: dict[str, list[float]],
) -> None:
    """Send the cost of a step and the reference losses, then answer requests.

    A request for a step gets the peaks, one for none the free memory.

    Args:
        losses: the numbers that every system has to compute.
        spread: relative distance from them, by precision, that rounding alone may cause.
    """
    if device == "cuda":
        torch.cuda.empty_cache()
    talk.send(**machine(device), cost=asdict(cost), losses=losses, spread=spread)
    for _, steps in talk.requests():
        if steps:
            talk.send(peaks=peaks(device))
        else:
            talk.send(free_gb=_free_gb(device))


def peaks(device: str) -> dict[str, float]:
    """Operations a second by precision, and "bytes" a second.

    On a CPU those of its instructions, which no program exceeds; on a GPU those of torch's matrix
    product and of its copy.
    """
    if device == "cpu":
        return _core.peak_rates(torch.get_num_threads())
    found = {"bf16": matmul_flops(device, torch.bfloat16), "bytes": copied_bytes(device)}
    torch.cuda.empty_cache()
    return found


def matmul_flops(device: str, dtype: torch.dtype) -> float:
    """Operations a second of the fastest of several large matrix products."""
    a, b = (torch.randn(_SIDE, _SIDE, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * _SIDE**3 / _shortest(lambda: torch.mm(a, b, out=out), device)


def copied_bytes(device: str) -> float:
    """Bytes a second that a large copy reads and writes."""
    block = torch.zeros(_COPIED_BYTES, dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    return 2 * block.numel() / _shortest(lambda: other.copy_(block), device)


def _shortest(call: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(_REPEATS):
        wait(device)
        start = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _free_gb(device: str) -> float | None:
    """Free memory of the whole GPU; None on the CPU."""
    return torch.cuda.mem_get_info(device)[0] / 1e9 if device == "cuda" else None
