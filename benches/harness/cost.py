"""The operations and bytes that a step needs at least, and the time they take: its floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# In bfloat16.
_BYTES_PER_VALUE = 2
# The optimizer reads and writes a parameter and its momentum in float32.
_BYTES_PER_PARAMETER = 16


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer: input and output values and multiply-adds for one image."""

    inputs: int
    outputs: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """Operations and bytes of a training step."""

    flops: float
    bytes: float = 0.0

    def milliseconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """The longer of the two, as a device computes while it moves data."""
        return 1e3 * max(self.flops / flops_per_second, self.bytes / bytes_per_second)


def step_cost(layers: Sequence[Layer], parameters: int, batch: int) -> Cost:
    """The cost of layers that follow each other; the first one reads the images.

    Each layer is counted as if all operations around it were fused into its kernels: the forward
    reads its input and writes its output; the gradient of the weights reads its input again and the
    gradient of its output; the gradient of the input, which the images do not need, is written. A
    multiply-add is two operations. Data that stays in the cache of a GPU from one layer to the next
    may need fewer bytes, and an algorithm with fewer multiplications (Winograd's) fewer operations.
    """
    inputs, outputs = sum(layer.inputs for layer in layers), sum(layer.outputs for layer in layers)
    macs, first = sum(layer.macs for layer in layers), layers[0]
    values = 3 * inputs - first.inputs + 2 * outputs
    return Cost(
        flops=2.0 * (3 * macs - first.macs) * batch,
        bytes=float(_BYTES_PER_VALUE * values * batch + _BYTES_PER_PARAMETER * parameters),
    )
