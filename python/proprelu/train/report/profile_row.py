"""One operation of a profile, and the lower bound of its time on this machine."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["ProfileRow", "row_of_report"]

_SIZE = 1024
_COPIED = 1 << 24
_TRIES = 5


@dataclass(frozen=True)
class ProfileRow:
    """One operation of the program, or all operations that one kernel computes.

    Attributes:
        op: the operation.
        kernel: ``direct``, ``winograd``, ``amx``, ``depthwise``, ``fused``, ``torch``, or ``kept``
            for a result that the optimizer keeps up to date and that takes no time in a step.
        calls: the number of operations.
        milliseconds: the time in one step, the mean of the steps so far.
        floor: a lower bound of the time in milliseconds: the operations at the speed of a large
            matrix product of torch, or the bytes at the bandwidth of memory, whichever is longer.
            Data that are still in a cache can be faster.
        flops: multiplications and additions of convolutions and matrix products.
        bytes: the size of all inputs and outputs.
        shapes: types of the inputs and outputs; empty for several operations.
    """

    op: str
    kernel: str
    calls: int
    milliseconds: float
    floor: float
    flops: int
    bytes: int
    shapes: str = ""


def row_of_report(row: dict[str, Any]) -> ProfileRow:
    """Add the floor of an operation to its entry in the core's report."""
    dtype = torch.bfloat16 if "bfloat16" in row["shapes"] else torch.float32
    arithmetic = row["flops"] / _flops(dtype, torch.get_num_threads()) if row["flops"] else 0.0
    memory = 0.0 if row["kernel"] == "kept" else row["bytes"] / _bandwidth(torch.get_num_threads())
    return ProfileRow(
        row["op"],
        row["kernel"],
        1,
        1e3 * row["seconds"],
        1e3 * max(arithmetic, memory),
        row["flops"],
        row["bytes"],
        row["shapes"],
    )


@functools.cache
def _flops(dtype: torch.dtype, threads: int) -> float:
    """Operations per second of a matrix product with this number of threads."""
    a, b = (torch.ones(_SIZE, _SIZE, dtype=dtype, device="cpu") for _ in range(2))
    return 2 * _SIZE**3 / _fastest(lambda: a @ b)


@functools.cache
def _bandwidth(threads: int) -> float:
    """Bytes per second of a copy that is larger than the caches."""
    source, target = (torch.ones(_COPIED, dtype=torch.float32, device="cpu") for _ in range(2))
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source))


def _fastest(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
