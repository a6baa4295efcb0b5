"""The symmetric quantizer: 8-bit integers for values up to a scale."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LEVELS", "dequantized", "largest", "quantized"]

# Of each sign; -128 is not used.
LEVELS = 127


def largest(x: Tensor) -> Tensor:
    """The largest magnitude of a tensor, a scalar: 0 if it has no values, NaN if one is NaN."""
    return x.detach().abs().amax() if x.numel() else x.new_zeros(())


def quantized(x: Tensor, scale: Tensor, stochastic: bool = False) -> Tensor:
    """``round(127 clamp(x, -s, s) / s)`` as int8; zeros where the scale is 0 or not finite.

    Args:
        x: the values.
        scale: s, of a shape that broadcasts to that of x.
        stochastic: round up with the probability of the fraction; otherwise to the nearest, and
            halves to the even one.
    """
    x = _wide(x)
    factor = torch.where(scale > 0, LEVELS / scale, 0).to(x.dtype)
    steps = (x * factor).clamp(-LEVELS, LEVELS)
    steps = (steps + torch.rand_like(steps)).floor() if stochastic else steps.round()
    # A scale that is not finite makes the products NaN; the integers need only be defined.
    return steps.nan_to_num(0.0).to(torch.int8)


def dequantized(q: Tensor, scale: Tensor) -> Tensor:
    """The values that integers stand for: ``q s / 127``."""
    return q.to(scale.dtype) * (scale / LEVELS)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
