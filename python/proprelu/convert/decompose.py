"""Replaces convolutions with large kernels by stacks of 3x3 convolutions."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from torch import nn

from proprelu.checks import as_whole
from proprelu.convert.replacing import has_hooks, put
from proprelu.graph import check_has_values, copied
from proprelu.graph.mode import untouched_random
from proprelu.nn import DecomposedConv2d, deep_relu_form
from proprelu.nn.decomposed_conv import PADDING_MODES


@untouched_random()  # new layers begin with random weights
def decompose(
    model: nn.Module,
    kernel_size: int = 5,
    *,
    relu: bool = False,
    variant: str = "lean",
    skip: str | Collection[str] = (),
    inplace: bool = False,
) -> nn.Module:
    """Replace convolutions with large kernels by stacks of 3x3 convolutions with the same function.

    It is an initialization: the network computes what it did, and training starts from there with
    more layers and weights. With ``relu`` there is an activation between the layers, still with the
    same function. It is the inverse of what ``proprelu.merge`` does to stacks without activations.
    Create the optimizer from the result.

    Args:
        model: a network; its square kernels of odd size are replaced, in convolutions of stride 1
            without dilation, groups and hooks that keep the size of the image.
        kernel_size: the smallest kernel that is replaced, 5 or more.
        relu: put a ReLU between the layers, see ``proprelu.nn.deep_relu_form``.
        variant: ``"lean"`` or ``"full"``, see ``proprelu.nn.DecomposedConv2d``.
        skip: paths of convolutions that are left, with ``*`` and ``?``.
        inplace: change ``model`` itself, and return it.

    Returns:
        The model with the stacks, in its mode, on its device and in its dtype.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: the model is wrapped, a setting is out of range, or no convolution can be
            replaced.

    Example:
        >>> import torch
        >>> net, x = nn.Sequential(nn.Conv2d(3, 8, 7, padding=3)), torch.randn(1, 3, 16, 16)
        >>> deeper = decompose(net, relu=True)
        >>> len(deeper[0]), torch.allclose(deeper(x), net(x), atol=1e-5)
        (5, True)

    Reference:
        He, Li and Xu, arXiv 2109.00190.
    """
    kernel_size = as_whole("kernel_size", kernel_size, 5)
    skip = [skip] if isinstance(skip, str) else list(skip)
    check_has_values(model, "convert")
    result = model if inplace else copied(model)
    paths = [path for path, _ in _large(model, kernel_size, skip)]
    if not paths:
        raise ValueError(
            f"model must have a convolution with a kernel of {kernel_size} or more, odd and "
            "square, of stride 1 without dilation, groups and hooks, that keeps the size of the "
            f"image, got {type(model).__name__} with none; try a smaller kernel_size, or skip less"
        )
    for path in paths:
        conv = result.get_submodule(path)
        assert isinstance(conv, nn.Conv2d)
        new: nn.Module
        if relu:
            new = deep_relu_form(conv.weight, conv.bias, variant, conv.padding_mode)
        else:
            new = DecomposedConv2d.from_conv(conv, variant)
        for parameter in new.parameters():
            parameter.requires_grad_(conv.weight.requires_grad)
        put(result, path, new.train(conv.training))
    return result


def _large(
    model: nn.Module, kernel_size: int, skip: Collection[str]
) -> Iterator[tuple[str, nn.Conv2d]]:
    """The convolutions that can be replaced, with their paths."""
    for path, module in model.named_modules():
        if not path or any(fnmatchcase(path, pattern) for pattern in skip):
            continue
        if type(module) is nn.Conv2d and _is_large(module, kernel_size):
            yield path, module


def _is_large(conv: nn.Conv2d, kernel_size: int) -> bool:
    height, width = conv.kernel_size
    kept = conv.padding in ("same", (height // 2, height // 2))
    plain = conv.stride == conv.dilation == (1, 1) and conv.groups == 1 and not has_hooks(conv)
    square = height == width and height % 2 == 1 and height >= kernel_size
    return square and kept and plain and conv.padding_mode in PADDING_MODES
