"""Square roots of symmetric matrices: by Newton-Schulz iterations, and from the eigenvalues."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def iterated_root(s: Tensor, num_iters: int) -> Tensor:
    """The root by Newton-Schulz iterations for ``S / tr S``, times ``sqrt(tr S)``.

    Args:
        s: (N, d, d), symmetric and positive semidefinite.
        num_iters: the number of iterations.

    Returns:
        (N, d (d + 1) / 2), the upper triangle.

    Example:
        >>> s = 4.0 * torch.eye(2)[None]
        >>> torch.allclose(iterated_root(s, 20), torch.tensor([[2.0, 0.0, 2.0]]))
        True
    """
    with torch.autocast(s.device.type, enabled=False):
        trace, vanishes = _trace(s)
        a = s / trace
        t = _less(a, None)
        y, z = a.bmm(t), t
        for update in range(1, num_iters):
            t = _less(z, y)
            z = t.bmm(z) if update + 1 < num_iters else z
            y = y.bmm(t)
        return _triangle((trace.sqrt() * y).masked_fill(vanishes, 0))


def iterated_root_derivative(grad: Tensor, triangle: Tensor, s: Tensor, num_iters: int) -> Tensor:
    """The backward of ``iterated_root``.

    The iterate is a polynomial in ``s / tr S``. For a symmetric gradient, the gradient of a matrix
    polynomial is its derivative in the direction of that gradient, so that it can be computed in
    forward mode, by the tangents of the iterations.

    Args:
        grad: (N, d (d + 1) / 2), the gradient with respect to the triangle.
        triangle: (N, d (d + 1) / 2), the result of the forward.
        s: (N, d, d), the input of the forward.
        num_iters: the number of iterations.

    Returns:
        (N, d, d), the gradient with respect to ``s``, symmetric.
    """
    trace, vanishes = _trace(s)
    a, da = s / trace, trace.sqrt() * _square(grad, s.shape[1])
    t, dt = _less(a, None), -0.5 * da
    dy = da.bmm(t) + a.bmm(dt)
    y, z, dz = (a.bmm(t), t, dt) if num_iters > 1 else (a, a, da)
    for update in range(1, num_iters):
        t = _less(z, y)
        dt = torch.baddbmm(dz.bmm(y), z, dy).mul_(-0.5)
        dy = torch.baddbmm(dy.bmm(t), y, dt)
        if update + 1 < num_iters:
            dz = torch.baddbmm(dt.bmm(z), t, dz)
            y, z = y.bmm(t), t.bmm(z)
    dy = (dy + dy.mT) / 2
    outside = (grad * triangle).sum(1)[:, None, None] / (2 * trace)
    inside = (dy * a).sum((1, 2), keepdim=True) / trace
    identity = torch.eye(s.shape[1], dtype=s.dtype, device=s.device)
    return (dy / trace + (outside - inside) * identity).masked_fill(vanishes, 0)


def _trace(s: Tensor) -> tuple[Tensor, Tensor]:
    """The trace, replaced by 1 where it is too small to divide by, and a mask of these."""
    trace = s.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    vanishes = trace < torch.finfo(s.dtype).tiny
    return trace.masked_fill(vanishes, 1), vanishes


def _less(z: Tensor, y: Tensor | None) -> Tensor:
    """``(3 I - z y) / 2``"""
    three = 1.5 * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    if y is None:
        return three - 0.5 * z
    return torch.baddbmm(three.expand_as(z), z, y, alpha=-0.5)


def _triangle(matrix: Tensor) -> Tensor:
    rows, columns = torch.triu_indices(*matrix.shape[1:], device=matrix.device)
    return matrix[:, rows, columns]


def _square(triangle: Tensor, size: int) -> Tensor:
    """The symmetric part of a matrix with this upper triangle and zeros below."""
    rows, columns = torch.triu_indices(size, size, device=triangle.device)
    matrix = triangle.new_zeros(len(triangle), size, size)
    matrix[:, rows, columns] = 0.5 * triangle
    return matrix + matrix.mT


def triangle_root(s: Tensor, anomaly: bool = False) -> Tensor:
    """The exact square root, from the eigenvalues.

    Args:
        s: (N, d, d), symmetric and positive semidefinite up to rounding.
        anomaly: raise an error if ``s`` is not finite; if False, such a matrix gives NaN.

    Returns:
        (N, d (d + 1) / 2), the upper triangle.

    Raises:
        FloatingPointError: ``anomaly`` is set and ``s`` is not finite.

    Example:
        >>> triangle_root(torch.diag(torch.tensor([4.0, 9.0]))[None])
        tensor([[2., 0., 3.]])

    Reference:
        Li et al., "Is Second-order Information Helpful for Large-scale Visual Recognition?",
        arXiv 1703.08050.
    """
    triangle: Tensor = _root(s, anomaly)[0]
    return triangle


@torch.library.custom_op("proprelu::symmetric_root", mutates_args=())
def _root(s: Tensor, anomaly: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The triangle of the root, the eigenvectors, and the square roots of the eigenvalues."""
    finite = s.isfinite().all(2, keepdim=True).all(1, keepdim=True)
    if anomaly and not bool(finite.all()):
        raise FloatingPointError("a matrix that is not finite has no square root")
    # One matrix that is not finite would make eigh raise an error for the whole batch.
    values, vectors = torch.linalg.eigh(s.masked_fill(~finite, 0))
    roots = values.clamp_min(0).sqrt()
    with torch.autocast(s.device.type, enabled=False):
        root = (vectors * roots[:, None]).bmm(vectors.mT)
    return _triangle(root.masked_fill(~finite, float("nan"))), vectors.contiguous(), roots


@_root.register_fake
def _(s: Tensor, anomaly: bool) -> tuple[Tensor, Tensor, Tensor]:
    n, d = s.shape[:2]
    return s.new_empty((n, d * (d + 1) // 2)), s.new_empty((n, d, d)), s.new_empty((n, d))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, vectors, roots = output
    ctx.save_for_backward(vectors, roots)
    ctx.mark_non_differentiable(vectors, roots)


def _backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, None]:
    """``Q ((Q^T G Q) / (r_i + r_j)) Q^T``, with zeros where ``r_i + r_j`` vanishes."""
    vectors, roots = ctx.saved_tensors
    sums = roots[:, :, None] + roots[:, None]
    smallest = torch.finfo(roots.dtype).eps * roots.amax(1)[:, None, None]
    inverse = (sums > smallest) / sums.clamp_min(torch.finfo(roots.dtype).tiny)
    with torch.autocast(grad.device.type, enabled=False):
        inner = vectors.mT.bmm(_square(grad, vectors.shape[1])).bmm(vectors)
        return vectors.bmm(inner * inverse).bmm(vectors.mT), None


_root.register_autograd(_backward, setup_context=_save)
