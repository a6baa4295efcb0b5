"""Up to where gradients are quantized."""

from __future__ import annotations

import torch
from torch import Tensor

from proprelu.functional.int8.quantizer import dequantized, quantized

__all__ = ["are_gaussian", "clipped_scales"]

# The part of the interval that a golden-section search keeps in each step, and its steps.
_GOLDEN = (5**0.5 - 1) / 2
_SEARCHES = 20


def clipped_scales(
    rows: Tensor, before: Tensor, clipping: str, gaussian_share: float, rate: float, k: float
) -> Tensor:
    """The scale of each row of a gradient.

    Args:
        rows: (R, n), a row for each channel, or one for all.
        before: (R,), the scales of the step before; 0 where there was none.
        clipping: see ``Int8``; so are the others.

    Returns:
        (R,)
    """
    if not rows.numel():
        return before.clone()
    maxima = rows.abs().amax(1)
    if clipping == "max":
        return maxima
    if clipping == "direction":
        return _best_directions(rows, maxima)
    recursive = (1 - k * rate) * before + rate * maxima
    keeps_maximum = are_gaussian(rows, gaussian_share) | ~(before > 0) | ~(recursive > 0)
    # A NaN stays one: a maximum that is not finite is the scale.
    return torch.where(keeps_maximum | ~maxima.isfinite(), maxima, recursive)


def are_gaussian(rows: Tensor, share: float = 0.3) -> Tensor:
    """Whether more than a share of a row's values is larger than their standard deviation.

    Of a Gaussian 0.317 are; of rows with mostly small values and a few large ones fewer.

    Args:
        rows: (R, n).
        share: the threshold.
    """
    deviations = rows.std(1, correction=0, keepdim=True)
    return (rows.abs() > deviations).to(rows.dtype).mean(1) > share


def _best_directions(rows: Tensor, maxima: Tensor) -> Tensor:
    """The scales with which quantized rows point most nearly where the rows do."""
    low, high = maxima / _SEARCHES, maxima.clone()
    for _ in range(_SEARCHES):
        width = (high - low) * _GOLDEN
        left, right = high - width, low + width
        better = _cosines(rows, left) >= _cosines(rows, right)
        low, high = torch.where(better, low, left), torch.where(better, right, high)
    found = (low + high) / 2
    return torch.where(_cosines(rows, found) > _cosines(rows, maxima), found, maxima)


def _cosines(rows: Tensor, scales: Tensor) -> Tensor:
    approximated = dequantized(quantized(rows, scales[:, None]), scales[:, None])
    return torch.cosine_similarity(rows, approximated, 1)
