"""One operation of a profile, and the lower bound of its time on this machine."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

from proprelu import _core

__all__ = ["ProfileRow", "row_of_report"]


@dataclass(frozen=True)
class ProfileRow:
    """One operation of the program, or all operations that one kernel computes.

    Attributes:
        op: the operation.
        kernel: ``direct``, ``winograd``, ``amx``, ``depthwise``, ``fused``, ``torch``, or ``kept``
            for a result that the optimizer keeps up to date and that takes no time in a step.
            ``direct-f32`` and ``winograd-f32`` multiply bf16 as fp32.
        calls: the number of operations.
        milliseconds: the time in one step, the mean of the steps so far.
        floor: a lower bound of the time in milliseconds: the operations at the peak of the
            processor, or the bytes at the speed of a large copy, whichever is longer. Data that
            are still in a cache can be faster.
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
    peaks = _peaks(torch.get_num_threads())
    arithmetic = row["flops"] / peaks["bf16" if "bfloat16" in row["shapes"] else "fp32"]
    memory = 0.0 if row["kernel"] == "kept" else row["bytes"] / peaks["bytes"]
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
def _peaks(threads: int) -> dict[str, float]:
    return _core.peak_rates(threads)
