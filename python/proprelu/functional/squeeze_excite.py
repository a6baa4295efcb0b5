"""The operations of squeeze-and-excitation, registered with torch.

The core computes them for CPU tensors in float32 and bfloat16, and torch for all others.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from proprelu._core import channel_means as _core_means
from proprelu._core import scale_channels as _core_scale
from proprelu._core import scale_channels_backward as _core_scale_backward
from proprelu.functional.exporting import is_exporting

_CORE_DTYPES = (torch.float32, torch.bfloat16)


def channel_means(input: Tensor) -> Tensor:
    """The mean of each channel of each image.

    ``y[n, c] = mean(input[n, c])``, accumulated in float32 or higher. The gradient is constant
    over a channel and is returned as an expanded view, which takes no memory for each pixel.

    Args:
        input: (N, C, H, W), or with other dimensions after C.

    Returns:
        (N, C), in the dtype of the input.

    Raises:
        ValueError: the input has fewer than three dimensions.

    Example:
        >>> channel_means(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])

    Reference:
        Hu et al., "Squeeze-and-Excitation Networks", arXiv 1709.01507.
    """
    if input.ndim < 3:
        raise ValueError(f"channel_means needs an input (N, C, H, W), got {tuple(input.shape)}")
    if is_exporting():
        # An exported program must run without this package.
        return _mean(input)
    means: Tensor = _means(input)
    return means


def scale_channels(input: Tensor, scale: Tensor) -> Tensor:
    """Multiply each channel of each image by its own factor.

    ``y[n, c] = input[n, c] * scale[n, c]``, the gating of squeeze-and-excitation. On a CPU the
    backward reads the gradient and the input once for both of its results. Torch's backward of the
    plain product reads them twice, and stores the product of the two in between.

    Args:
        input: (N, C, H, W), or with other dimensions after C.
        scale: (N, C).

    Returns:
        (N, C, H, W), in the dtype to which torch promotes the two.

    Raises:
        ValueError: the scale has another shape.

    Example:
        >>> scale_channels(torch.ones(1, 2, 1, 2), torch.tensor([[2.0, 3.0]])).flatten()
        tensor([2., 2., 3., 3.])

    Reference:
        Hu et al., "Squeeze-and-Excitation Networks", arXiv 1709.01507.
    """
    if input.ndim < 3 or scale.shape != input.shape[:2]:
        raise ValueError(
            "scale_channels needs an input (N, C, H, W) and a scale (N, C), "
            f"got {tuple(input.shape)} and {tuple(scale.shape)}"
        )
    if is_exporting():
        # An exported program must run without this package.
        return _product(input, scale)
    dtype = torch.promote_types(input.dtype, scale.dtype)
    scaled: Tensor = _scale(input.to(dtype), scale.to(dtype))
    return scaled


def _product(input: Tensor, scale: Tensor) -> Tensor:
    return input * _over(scale, input)


def _over(scale: Tensor, input: Tensor) -> Tensor:
    """The scale, reshaped so that it broadcasts to the input."""
    return scale.reshape(*scale.shape, *(1 for _ in input.shape[2:]))


def _mean(input: Tensor) -> Tensor:
    return input.flatten(2).mean(2)


def _sum(input: Tensor) -> Tensor:
    return input.flatten(2).sum(2)


@torch.library.custom_op("proprelu::channel_means", mutates_args=())
def _means(input: Tensor) -> Tensor:
    return _core_means(input.detach()) if _runs_in_core(input) else _mean(input)


@_means.register_fake
def _(input: Tensor) -> Tensor:
    return input.new_empty(input.shape[:2])


@torch.library.custom_op("proprelu::scale_channels", mutates_args=())
def _scale(input: Tensor, scale: Tensor) -> Tensor:
    if _runs_in_core(input):
        return _core_scale(input.detach(), scale.detach())
    return _in_core_layout(_product(input, scale), input)


@_scale.register_fake
def _(input: Tensor, scale: Tensor) -> Tensor:
    return _in_core_layout(torch.empty_like(input), input)


@torch.library.custom_op("proprelu::scale_channels_backward", mutates_args=())
def _scale_backward(grad: Tensor, input: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients with respect to input and scale."""
    if _runs_in_core(input):
        return _core_scale_backward(grad.detach(), input.detach(), scale.detach())
    return _in_core_layout(_product(grad, scale), input), _sum(grad * input)


@_scale_backward.register_fake
def _(grad: Tensor, input: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return _in_core_layout(torch.empty_like(input), input), torch.empty_like(
        scale, memory_format=torch.contiguous_format
    )


def _runs_in_core(input: Tensor) -> bool:
    return input.device.type == "cpu" and input.dtype in _CORE_DTYPES and input.numel() > 0


def _in_core_layout(result: Tensor, input: Tensor) -> Tensor:
    """The result in the layout of the core: that of a dense input, channels-last otherwise."""
    if input.is_contiguous() and not _is_channels_last(input):
        return result.contiguous()
    return result.movedim(1, -1).contiguous().movedim(-1, 1)


def _is_channels_last(input: Tensor) -> bool:
    return input.movedim(1, -1).is_contiguous()


def _save_shape(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.shape = inputs[0].shape


def _means_backward(ctx: Any, grad: Tensor) -> Tensor:
    grad = grad / math.prod(ctx.shape[2:])
    return grad.reshape(*grad.shape, *(1 for _ in ctx.shape[2:])).expand(ctx.shape)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor] = _scale_backward(grad, *ctx.saved_tensors)
    return gradients


def _double_backward(ctx: Any, ggi: Tensor, ggs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The derivative of the backward, ``grad * scale`` and the sums of ``grad * input``.

    Args:
        ctx: holds grad, input and scale.
        ggi: the gradient with respect to the first result, the gradient of the input.
        ggs: the gradient with respect to the second result, the gradient of the scale.
    """
    grad, input, scale = ctx.saved_tensors
    ggs = _over(ggs, input)
    return ggi * _over(scale, input) + ggs * input, ggs * grad, _sum(ggi * grad)


_means.register_autograd(_means_backward, setup_context=_save_shape)
_scale.register_autograd(_backward, setup_context=_save)
_scale_backward.register_autograd(_double_backward, setup_context=_save)
