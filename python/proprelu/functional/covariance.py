"""Global covariance pooling as one operation with its gradient, registered with torch.

On a CPU the core computes it, in float32 and bfloat16; elsewhere torch's batched products do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proprelu._core import covariance_pool as _forward
from proprelu._core import covariance_pool_backward as _backward_of
from proprelu.functional.symmetric_root import (
    iterated_root,
    iterated_root_derivative,
    triangle_root,
)

METHODS = ("newton_schulz", "eigh")
_OURS = (torch.float32, torch.bfloat16)


def covariance_pool(
    input: Tensor,
    num_iters: int = 5,
    method: str = "newton_schulz",
    gaussian: bool = False,
    anomaly: bool = False,
) -> Tensor:
    """The square root of the covariance of an image's channels, as an upper triangle.

    ``S = X J X^T`` with ``J = (I - 1 1^T / M) / M`` over the M pixels of an image; then, with
    ``"newton_schulz"``, ``sqrt(tr S) Y_N`` from ``Y = S / tr S, Z = I`` by N updates
    ``T = (3 I - Z Y) / 2, Y <- Y T, Z <- T Z``; or, with ``"eigh"``, the exact root from the
    eigenvalues. The gradient has a closed form in both cases. Features that are constant (a single
    pixel, say) give zeros, and gradients of zero; nothing finite gives what is not.

    Args:
        input: (N, C, H, W), or with other dimensions behind C.
        num_iters: N updates, 1 or more; without meaning for ``"eigh"``.
        method: ``"newton_schulz"``, which converges from below and is fast, or ``"eigh"``.
        gaussian: the root of ``[[S + mu mu^T, mu], [mu^T, 1]]`` instead, which holds the means
            ``mu`` of the channels too: one row and column more.
        anomaly: raise where the input is not finite, which takes a look at all of it; else what is
            not a number stays so.

    Returns:
        (N, C (C + 1) / 2): the triangle with its diagonal, row by row; float32 whatever the
        precision of the input and autocast, float64 of float64.

    Raises:
        ValueError: an input without pixels, settings out of range.
        FloatingPointError: with ``anomaly``, an input that is not finite.

    Example:
        >>> covariance_pool(torch.randn(2, 8, 5, 5)).shape
        torch.Size([2, 36])

    Reference:
        Li et al., "Towards Faster Training of Global Covariance Pooling Networks by Iterative
        Matrix Square Root Normalization", arXiv 1712.01034; Wang et al., arXiv 1904.06836. That the
        gradient may be computed as a derivative in a direction, forwards, is ours.
    """
    if input.ndim < 3 or num_iters < 1 or method not in METHODS:
        raise ValueError(
            "covariance pooling needs an input (N, C, H, W), num_iters >= 1 and a method of "
            f"{', '.join(METHODS)}, got {tuple(input.shape)}, {num_iters} and {method!r}"
        )
    if input.dtype == torch.float16:
        input = input.float()
    if gaussian:
        # the embedding is the second moment of the features with a constant beside them
        input = torch.cat([input, torch.ones_like(input[:, :1])], 1)
    if method == "eigh":
        return triangle_root(_covariance(input, not gaussian), anomaly)
    if torch.compiler.is_exporting():
        # what is exported runs where this package is not
        return iterated_root(_covariance(input, not gaussian), num_iters)
    triangle: Tensor = _pool(input, num_iters, not gaussian, anomaly)[0]
    return triangle


def _covariance(input: Tensor, center: bool) -> Tensor:
    with torch.autocast(input.device.type, enabled=False):
        x = _rows(input, center)
        return x.mT.bmm(x) / x.shape[1]


def _rows(input: Tensor, center: bool) -> Tensor:
    """(N, pixels, C), less the means."""
    x = input.flatten(2).mT
    x = x if x.dtype == torch.float64 else x.float()
    return x - x.mean(1, keepdim=True) if center else x


def check_finite(input: Tensor) -> None:
    """Raise where a number is none."""
    if not bool(input.isfinite().all()):
        raise FloatingPointError(
            "covariance pooling got an input that is not finite; the layers before it have diverged"
        )


@torch.library.custom_op("proprelu::covariance_pool", mutates_args=())
def _pool(input: Tensor, num_iters: int, center: bool, anomaly: bool) -> tuple[Tensor, Tensor]:
    """The triangle, and the covariance."""
    if anomaly:
        check_finite(input)
    if _is_ours(input):
        return _forward(input.detach(), num_iters, center)
    covariance = _covariance(input, center)
    return iterated_root(covariance, num_iters), covariance


@_pool.register_fake
def _(input: Tensor, num_iters: int, center: bool, anomaly: bool) -> tuple[Tensor, Tensor]:
    n, c = input.shape[:2]
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    triangle = input.new_empty((n, c * (c + 1) // 2), dtype=dtype)
    return triangle, input.new_empty((n, c, c), dtype=dtype)


@torch.library.custom_op("proprelu::covariance_pool_backward", mutates_args=())
def _pool_backward(
    grad: Tensor,
    input: Tensor,
    triangle: Tensor,
    covariance: Tensor,
    num_iters: int,
    center: bool,
) -> Tensor:
    """The gradient of the input, in memory with the channel innermost."""
    if _is_ours(input):
        tensors = (grad.detach(), input.detach(), triangle.detach(), covariance.detach())
        return _backward_of(*tensors, num_iters, center)
    with torch.autocast(input.device.type, enabled=False):
        x = _rows(input, center)
        of_covariance = iterated_root_derivative(grad, triangle, covariance, num_iters)
        rows = x.bmm(of_covariance) * (2 / x.shape[1])
    n, c, *size = input.shape
    return rows.to(input.dtype).reshape(n, *size, c).movedim(-1, 1)


@_pool_backward.register_fake
def _(
    grad: Tensor,
    input: Tensor,
    triangle: Tensor,
    covariance: Tensor,
    num_iters: int,
    center: bool,
) -> Tensor:
    n, c, *size = input.shape
    return input.new_empty((n, *size, c)).movedim(-1, 1)


def _is_ours(input: Tensor) -> bool:
    return input.device.type == "cpu" and input.dtype in _OURS and input.numel() > 0


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    input, ctx.num_iters, ctx.center, _ = inputs
    triangle, covariance = output
    ctx.save_for_backward(input, triangle, covariance)
    ctx.mark_non_differentiable(covariance)


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor, None, None, None]:
    input, triangle, covariance = ctx.saved_tensors
    return (
        _pool_backward(grad, input, triangle, covariance, ctx.num_iters, ctx.center),
        None,
        None,
        None,
    )


_pool.register_autograd(_backward, setup_context=_keep)
