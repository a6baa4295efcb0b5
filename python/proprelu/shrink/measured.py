"""What a network costs, and what it reaches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """A network in numbers.

    Attributes:
        top1: the accuracy on the validation data, a fraction of 1; None without data.
        milliseconds: the median time of a forward of the example.
        macs: multiplications of convolutions for one image.
        parameters: the number of parameters.
    """

    top1: float | None
    milliseconds: float
    macs: int
    parameters: int
