"""Global covariance pooling as one differentiable operation, registered with torch.

The core computes it for CPU tensors in float32 and bfloat16. All other tensors use batched matrix
products of torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proprelu._core import covariance_pool as _core_forward
from proprelu._core import covariance_pool_backward as _core_backward
from proprelu.functional.exporting import is_exporting
from proprelu.functional.symmetric_root import (
    iterated_root,
    iterated_root_derivative,
    triangle_root,
)

METHODS = ("newton_schulz", "eigh")
_CORE_DTYPES = (torch.float32, torch.bfloat16)


def covariance_pool(
    input: Tensor,
    num_iters: int = 5,
    method: str = "newton_schulz",
    gaussian: bool = False,
    anomaly: bool = False,
) -> Tensor:
    """The square root of the covariance of an image's channels, as an upper triangle.

    The covariance is ``S = X J X^T`` with ``J = (I - 1 1^T / M) / M`` over the M pixels of an
    image. With ``"newton_schulz"`` its root is approximated by ``sqrt(tr S) Y_N``: starting from
    ``Y = S / tr S, Z = I``, each of N iterations computes
    ``T = (3 I - Z Y) / 2, Y <- Y T, Z <- T Z``. With ``"eigh"`` the root is computed exactly from
    the eigenvalues. The gradient has a closed form in both cases. Constant features (such as a
    single pixel) give zeros and gradients of zero. Finite inputs always give finite results.

    Args:
        input: (N, C, H, W), or with other dimensions after C.
        num_iters: N, at least 1; ignored by ``"eigh"``.
        method: ``"newton_schulz"``, which is fast and converges from below, or ``"eigh"``.
        gaussian: take the root of ``[[S + mu mu^T, mu], [mu^T, 1]]`` instead, which also contains
            the means ``mu`` of the channels and has one more row and column.
        anomaly: raise an error if the input is not finite, at the cost of a pass over it. If False,
            values that are not finite propagate as NaN.

    Returns:
        (N, C (C + 1) / 2): the triangle with its diagonal, row by row, or with C + 1 for C if
        ``gaussian``. The dtype is float64 for a float64 input and float32 otherwise, also under
        autocast.

    Raises:
        ValueError: the input has no pixels, or a setting is out of range.
        FloatingPointError: ``anomaly`` is set and the input is not finite.

    Example:
        >>> covariance_pool(torch.randn(2, 8, 5, 5)).shape
        torch.Size([2, 36])

    Reference:
        Li et al., "Towards Faster Training of Global Covariance Pooling Networks by Iterative
        Matrix Square Root Normalization", arXiv 1712.01034; Wang et al., arXiv 1904.06836. The
        computation of the gradient as a directional derivative, in forward mode, is ours.
    """
    if input.ndim < 3 or num_iters < 1 or method not in METHODS:
        raise ValueError(
            "covariance pooling needs an input (N, C, H, W), num_iters >= 1 and a method among "
            f"{', '.join(METHODS)}, got {tuple(input.shape)}, {num_iters} and {method!r}"
        )
    if input.dtype == torch.float16:
        input = input.float()
    if gaussian:
        # The embedding is the second moment of the features with a channel of ones appended.
        input = torch.cat([input, torch.ones_like(input[:, :1])], 1)
    if method == "eigh":
        return triangle_root(_covariance(input, not gaussian), anomaly)
    if is_exporting():
        # An exported program must run without this package.
        return iterated_root(_covariance(input, not gaussian), num_iters)
    triangle: Tensor = _pool(input, num_iters, not gaussian, anomaly)[0]
    return triangle


def _covariance(input: Tensor, center: bool) -> Tensor:
    with torch.autocast(input.device.type, enabled=False):
        x = _rows(input, center)
        return x.mT.bmm(x) / x.shape[1]


def _rows(input: Tensor, center: bool) -> Tensor:
    """The input as (N, pixels, C), minus the means if ``center``."""
    x = input.flatten(2).mT
    x = x if x.dtype == torch.float64 else x.float()
    return x - x.mean(1, keepdim=True) if center else x


def check_finite(input: Tensor) -> None:
    """Raise a ``FloatingPointError`` if a value is infinite or NaN."""
    if not bool(input.isfinite().all()):
        raise FloatingPointError(
            "covariance pooling got an input that is not finite; the layers before it have diverged"
        )


@torch.library.custom_op("proprelu::covariance_pool", mutates_args=())
def _pool(input: Tensor, num_iters: int, center: bool, anomaly: bool) -> tuple[Tensor, Tensor]:
    """The triangle of the root, and the covariance."""
    if anomaly:
        check_finite(input)
    if _runs_in_core(input):
        return _core_forward(input.detach(), num_iters, center)
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
    """The gradient with respect to the input, in channels-last format."""
    if _runs_in_core(input):
        tensors = (grad.detach(), input.detach(), triangle.detach(), covariance.detach())
        return _core_backward(*tensors, num_iters, center)
    with torch.autocast(input.device.type, enabled=False):
        x = _rows(input, center)
        grad_covariance = iterated_root_derivative(grad, triangle, covariance, num_iters)
        rows = x.bmm(grad_covariance) * (2 / x.shape[1])
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


def _runs_in_core(input: Tensor) -> bool:
    return input.device.type == "cpu" and input.dtype in _CORE_DTYPES and input.numel() > 0


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
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


_pool.register_autograd(_backward, setup_context=_save)
