"""Replaces the convolutions of a network by ones with 8-bit operands."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from torch import nn

from proprelu.graph import check_changeable, copied
from proprelu.nn import Int8, Int8Conv2d

__all__ = ["int8"]


def int8(
    model: nn.Module,
    settings: Int8 = Int8(),  # noqa: B008  frozen
    *,
    skip: Collection[str] = ("first",),
    inplace: bool = False,
) -> nn.Module:
    """Replace a network's convolutions by ones that multiply 8-bit integers.

    Every ``nn.Conv2d`` becomes a ``proprelu.nn.Int8Conv2d`` with the same parameters, so that the
    network can be trained, or trained further, as it would be with integer hardware. The results
    are those of integers; it is not faster.

    Args:
        model: a network; it is not changed, unless ``inplace``.
        settings: how gradients are quantized.
        skip: ``"first"`` and ``"last"`` for the first and the last convolution in the order of
            ``model.modules()``, and patterns of paths as in a shell, ``"layer1.*"``: these stay as
            they are.
        inplace: replace the layers in ``model`` itself, and return it.

    Returns:
        The network; its parameters are those of the model, or copies of them.

    Raises:
        TypeError: ``model`` is not a module, or ``settings`` is not an ``Int8``.
        ValueError: the model is wrapped, or has no convolution that is not skipped.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3))
        >>> [type(layer).__name__ for layer in int8(net)]
        ['Conv2d', 'ReLU', 'Int8Conv2d']

    Reference:
        Zhao et al., "Distribution Adaptive INT8 Quantization for Training CNNs", arXiv 2102.04782.
        Which layers are left out is not known of it.
    """
    check_changeable(model, "convert")
    patterns = [skip] if isinstance(skip, str) else list(skip)
    result = model if inplace else copied(model)
    chosen = list(_chosen(result, patterns))
    if not chosen:
        raise ValueError(
            "model must have a Conv2d that is not skipped, got "
            f"{type(model).__name__} with none; skip fewer layers"
        )
    for conv in chosen:
        Int8Conv2d.become(conv, settings)
    return result


def _chosen(model: nn.Module, skip: Collection[str]) -> Iterator[nn.Conv2d]:
    """The convolutions that are not skipped, in order."""
    convs = [(path, each) for path, each in model.named_modules() if type(each) is nn.Conv2d]
    for number, (path, conv) in enumerate(convs):
        ends = ("first" if number == 0 else "", "last" if number == len(convs) - 1 else "")
        if not any(each in skip for each in ends if each) and not any(
            fnmatchcase(path, pattern) for pattern in skip
        ):
            yield conv
