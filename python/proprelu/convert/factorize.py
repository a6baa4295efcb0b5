"""Replaces convolutions by products of smaller ones, which approximate them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from proprelu.convert.replacing import has_hooks, put
from proprelu.graph import check_has_values, copied
from proprelu.graph.mode import untouched_random

# Of the iterations that refine a decomposition.
_ITERATIONS = 100

Size: TypeAlias = tuple[int, int]
# The channels before and after the kernel.
Rank: TypeAlias = tuple[int, int]


@untouched_random()  # new layers begin with random weights
def factorize(
    model: nn.Module,
    method: str = "tucker",
    macs: float = 0.5,
    *,
    skip: str | Collection[str] = (),
    inplace: bool = False,
) -> nn.Module:
    """Replace convolutions by two to four smaller ones in a row, which approximate them.

    The result computes something else than the model, and has to be trained further. Its layers
    have no activations between them, so ``proprelu.merge`` can make one convolution of each row
    again, with the approximated weight. Create the optimizer from the result. Needs the extra
    ``factorize``, which installs TensorLy.

    Args:
        model: a network; its convolutions larger than 1x1 and without groups are replaced.
        method: the factorization of the weight, (M, C, KH, KW):

            - ``"tucker"``: Tucker decomposition of the channels; 1x1, KHxKW and 1x1;
            - ``"cp"``: canonical polyadic decomposition; 1x1, KHx1 and 1xKW by channel, and 1x1;
            - ``"svd"``: singular values; KHx1 and 1xKW.
        macs: the part of a convolution's multiplications that those in its place may have, above
            0; the ranks are as large as it allows. A convolution stays where rank 1 is too large.
        skip: paths of convolutions that are left, with ``*`` and ``?``.
        inplace: change ``model`` itself, and return it.

    Returns:
        The model with the rows, in its mode, on its device and in its dtype.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: the model is wrapped, a setting is out of range, or no convolution can be
            replaced.
        ImportError: TensorLy is not installed.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1))
        >>> smaller = factorize(net, "svd", macs=0.4)
        >>> [tuple(layer.weight.shape) for layer in smaller[0]]
        [(9, 16, 3, 1), (16, 9, 1, 3)]

    Reference:
        Tucker: Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low
        Power Mobile Applications", arXiv 1511.06530. CP: Lebedev et al., arXiv 1412.6553. Singular
        values: Jaderberg et al., arXiv 1405.3866. Choosing the ranks by multiplications is ours.
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, got {method!r}")
    if isinstance(macs, bool) or not isinstance(macs, (int, float)) or not macs > 0:
        raise ValueError(f"macs must be a part of the multiplications, above 0, got {macs!r}")
    skip = [skip] if isinstance(skip, str) else list(skip)
    check_has_values(model, "convert")
    result = model if inplace else copied(model)
    rows = {path: row for path, conv in _convs(result, skip) if (row := _row(conv, method, macs))}
    if not rows:
        raise ValueError(
            "model must have a convolution larger than 1x1, without groups, that can be "
            f"factorized to {macs:g} of its multiplications, got {type(model).__name__} with none"
        )
    for path, row in rows.items():
        put(result, path, row)
    return result


def _convs(model: nn.Module, skip: Collection[str]) -> Iterator[tuple[str, nn.Conv2d]]:
    for path, module in model.named_modules():
        if not path or any(fnmatchcase(path, pattern) for pattern in skip):
            continue
        large = type(module) is nn.Conv2d and module.groups == 1 and module.kernel_size != (1, 1)
        if large and type(module.weight) is nn.Parameter and not has_hooks(module):
            yield path, module


def _row(conv: nn.Conv2d, method: str, macs: float) -> nn.Sequential | None:
    """The layers in the place of a convolution; None if rank 1 has too many multiplications."""
    find, ranks = _METHODS[method]
    m, c, kh, kw = conv.weight.shape
    for rank in ranks(m, c, kh, kw):  # from the largest on
        shapes = _shapes(method, (m, c, kh, kw), rank)
        if _multiplications(shapes, conv.stride) <= macs * m * c * kh * kw:
            with torch.no_grad(), _tensorly():
                return _layers(conv, shapes, find(conv.weight.detach().double().cpu(), rank))
    return None


def _tensorly() -> AbstractContextManager[None]:
    """TensorLy on torch's tensors, without a change of what a user has set.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import tensorly
    except ImportError:
        raise ImportError(
            "factorizations need TensorLy, which is not installed: pip install "
            "'proprelu[factorize]'"
        ) from None
    context: AbstractContextManager[None] = tensorly.backend_context("pytorch")
    return context


class _Shape(NamedTuple):
    """The size of a weight, and which axes of the kernel it has: 0 the height, 1 the width."""

    size: tuple[int, int, int, int]
    axes: tuple[int, ...] = ()


def _shapes(method: str, size: tuple[int, int, int, int], rank: Rank) -> list[_Shape]:
    """The weights of a row."""
    m, c, kh, kw = size
    before, after = rank
    if method == "tucker":
        first, last = _Shape((before, c, 1, 1)), _Shape((m, after, 1, 1))
        return [first, _Shape((after, before, kh, kw), (0, 1)), last]
    if method == "svd":
        return [_Shape((before, c, kh, 1), (0,)), _Shape((m, before, 1, kw), (1,))]
    middle = [_Shape((before, 1, kh, 1), (0,)), _Shape((before, 1, 1, kw), (1,))]
    return [_Shape((before, c, 1, 1)), *middle, _Shape((m, before, 1, 1))]


def _multiplications(shapes: Sequence[_Shape], stride: Sequence[int]) -> int:
    """Multiplications of a row for each value of its result; those before a stride count more."""
    total, left = 0, stride[0] * stride[1]
    for shape in shapes:
        left //= math.prod(stride[axis] for axis in shape.axes)
        total += left * math.prod(shape.size)
    return total


def _layers(conv: nn.Conv2d, shapes: Sequence[_Shape], weights: Sequence[Tensor]) -> nn.Sequential:
    """Layers with these weights, each with the stride, padding and dilation of its axes."""
    layers = []
    for number, (shape, weight) in enumerate(zip(shapes, weights, strict=True)):
        size = shape.size

        def along(values: Sequence[int], other: int, axes: tuple[int, ...] = shape.axes) -> Size:
            height, width = (values[axis] if axis in axes else other for axis in (0, 1))
            return height, width

        padding = conv.padding if isinstance(conv.padding, str) else along(conv.padding, 0)
        by_channel = size[1] == 1 and bool(shape.axes) and size[0] == shapes[0].size[0]
        last = number == len(shapes) - 1
        layer = nn.Conv2d(
            size[0] if by_channel else size[1],
            size[0],
            (size[2], size[3]),
            along(conv.stride, 1),
            padding,
            along(conv.dilation, 1),
            groups=size[0] if by_channel else 1,
            bias=last and conv.bias is not None,
            padding_mode=conv.padding_mode,
        ).to(conv.weight)
        layer.weight.copy_(weight.reshape(size))
        if last and conv.bias is not None and layer.bias is not None:
            layer.bias.copy_(conv.bias)
        layer.requires_grad_(conv.weight.requires_grad)
        layers.append(layer)
    return nn.Sequential(*layers).train(conv.training)


def _tucker(weight: Tensor, rank: Rank) -> list[Tensor]:
    from tensorly.decomposition import partial_tucker

    before, after = rank
    (core, (outer, inner)), _ = partial_tucker(
        weight, [after, before], [0, 1], n_iter_max=_ITERATIONS
    )
    return [inner.T, core, outer]


def _cp(weight: Tensor, rank: Rank) -> list[Tensor]:
    from tensorly.decomposition import parafac

    scales, (outer, inner, height, width) = parafac(
        weight, rank[0], n_iter_max=_ITERATIONS, init="random", random_state=0
    )
    return [inner.T, height.T, width.T, outer * scales]


def _svd(weight: Tensor, rank: Rank) -> list[Tensor]:
    m, c, kh, kw = weight.shape
    matrix = weight.permute(1, 2, 0, 3).reshape(c * kh, m * kw)
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    root = values[: rank[0]].sqrt()
    first = (u[:, : rank[0]] * root).T
    last = (v[: rank[0]] * root[:, None]).reshape(-1, m, kw).transpose(0, 1)
    return [first, last.contiguous()]


def _tucker_ranks(m: int, c: int, kh: int, kw: int) -> Iterator[Rank]:
    """Ranks in the proportion of the channels."""
    steps = max(m, c)
    for step in range(steps, 0, -1):
        yield max(1, round(step * c / steps)), max(1, round(step * m / steps))


def _cp_ranks(m: int, c: int, kh: int, kw: int) -> Iterator[Rank]:
    # A rank of the product of all sizes but the largest is always enough.
    sizes = m, c, kh, kw
    return ((rank, rank) for rank in range(math.prod(sizes) // max(sizes), 0, -1))


def _svd_ranks(m: int, c: int, kh: int, kw: int) -> Iterator[Rank]:
    return ((rank, rank) for rank in range(min(c * kh, m * kw), 0, -1))


_METHODS: dict[str, tuple[Callable[[Tensor, Rank], list[Tensor]], Callable[..., Iterator[Rank]]]]
_METHODS = {
    "tucker": (_tucker, _tucker_ranks),
    "cp": (_cp, _cp_ranks),
    "svd": (_svd, _svd_ranks),
}
