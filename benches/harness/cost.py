"""The operations and bytes that a step needs at least, and the time they take: its floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_BYTES_PER_VALUE = {"fp32": 4, "bf16": 2}
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
    """Operations of a training step, and what it moves.

    Attributes:
        values: activations and their gradients that are read or written.
        parameters: numbers that the optimizer updates.
    """

    flops: float
    values: float = 0.0
    parameters: float = 0.0

    def bytes(self, precision: str) -> float:
        """The bytes that are moved."""
        per_value = _BYTES_PER_VALUE[precision]
        return per_value * self.values + _BYTES_PER_PARAMETER * self.parameters

    def milliseconds(self, precision: str, peaks: Mapping[str, float]) -> float:
        """The longer of the two times, as a device computes while it moves data.

        Args:
            peaks: operations a second by precision, and "bytes" a second.
        """
        moving = self.bytes(precision) / peaks["bytes"]
        return 1e3 * max(self.flops / peaks[precision], moving)


def forward_cost(layers: Sequence[Layer], batch: int) -> Cost:
    """The cost of a forward through layers, counted as in a step."""
    return Cost(
        flops=2.0 * batch * sum(layer.macs for layer in layers),
        values=float(batch * sum(layer.inputs + layer.outputs for layer in layers)),
    )


def step_cost(layers: Sequence[Layer], parameters: int, batch: int) -> Cost:
    """The cost of layers that follow each other; the first one reads the images.

    Each layer is counted as if all operations around it were fused into its kernels: the forward
    reads its input and writes its output; the gradient of the weights reads its input again and the
    gradient of its output; the gradient of the input, which the images do not need, is written. A
    multiply-add is two operations. Data that stays in a cache from one layer to the next may
    need fewer bytes, and an algorithm with fewer multiplications (Winograd's) fewer operations.
    """
    inputs, outputs = sum(layer.inputs for layer in layers), sum(layer.outputs for layer in layers)
    macs, first = sum(layer.macs for layer in layers), layers[0]
    values = 3 * inputs - first.inputs + 2 * outputs
    return Cost(
        flops=2.0 * (3 * macs - first.macs) * batch,
        values=float(values * batch),
        parameters=float(parameters),
    )
