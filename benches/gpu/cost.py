"""What a step has to compute and to move at the least, and how long that takes: its floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# bfloat16.
_BYTES_OF_A_VALUE = 2
# A parameter and its momentum in float32 are read and written by the optimizer.
_BYTES_OF_A_PARAMETER = 16


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer: values it reads and gives, multiply-adds; of one image."""

    inputs: int
    outputs: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """Of a training step."""

    flops: float
    bytes: float

    def milliseconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """The longer of the two: a device computes while it moves."""
        return 1e3 * max(self.flops / flops_per_second, self.bytes / bytes_per_second)


def step_cost(layers: Sequence[Layer], parameters: int, batch: int) -> Cost:
    """Of layers that follow each other, the first one on the images.

    Each layer is counted as if all that is around it were done in its kernels: forward it reads its
    input and writes its output; for the weights it reads its input again and its output's gradient;
    for its input's gradient, which nobody needs of the images, it writes that. An operation is half
    of a multiply-add. What stays in a GPU's cache from one layer to the next may go below the
    bytes, and an algorithm with fewer multiplications below the operations.
    """
    inputs, outputs = sum(layer.inputs for layer in layers), sum(layer.outputs for layer in layers)
    macs, first = sum(layer.macs for layer in layers), layers[0]
    values = 3 * inputs - first.inputs + 2 * outputs
    return Cost(
        flops=2.0 * (3 * macs - first.macs) * batch,
        bytes=float(_BYTES_OF_A_VALUE * values * batch + _BYTES_OF_A_PARAMETER * parameters),
    )
