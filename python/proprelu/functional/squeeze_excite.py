"""What squeeze-and-excitation does to activations, registered with torch.

On a CPU the core computes it, in float32 and bfloat16; elsewhere torch does.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from proprelu._core import channel_means as _means_of
from proprelu._core import scale_channels as _scaled
from proprelu._core import scale_channels_backward as _scaled_backward

_OURS = (torch.float32, torch.bfloat16)


def channel_means(input: Tensor) -> Tensor:
    """The mean of each channel of each image.

    ``y[n, c] = mean(input[n, c])``, added up in float32 at the least. The gradient is one
    number for all of a channel, which is not written down for each pixel.

    Args:
        input: (N, C, H, W), or with other dimensions behind C.

    Returns:
        (N, C), of the type of the input.

    Raises:
        ValueError: an input of fewer dimensions.

    Example:
        >>> channel_means(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])

    Reference:
        Hu et al., "Squeeze-and-Excitation Networks", arXiv 1709.01507.
    """
    if input.ndim < 3:
        raise ValueError(f"channel_means needs an input (N, C, H, W), got {tuple(input.shape)}")
    if torch.compiler.is_exporting():
        # what is exported runs where this package is not
        return _mean(input)
    means: Tensor = _means(input)
    return means


def scale_channels(input: Tensor, scale: Tensor) -> Tensor:
    """Multiply each channel of each image by a number of its own.

    ``y[n, c] = input[n, c] * scale[n, c]``, as squeeze-and-excitation gates its channels. On a CPU
    the backward reads the gradient and the input once for both of its results; what torch makes of
    the product itself reads them twice and writes their product down in between.

    Args:
        input: (N, C, H, W), or with other dimensions behind C.
        scale: (N, C).

    Returns:
        (N, C, H, W), of the type to which torch promotes the two.

    Raises:
        ValueError: a scale of another shape.

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
    if torch.compiler.is_exporting():
        # what is exported runs where this package is not
        return _product(input, scale)
    dtype = torch.promote_types(input.dtype, scale.dtype)
    scaled: Tensor = _scale(input.to(dtype), scale.to(dtype))
    return scaled


def _product(input: Tensor, scale: Tensor) -> Tensor:
    return input * _over(scale, input)


def _over(scale: Tensor, input: Tensor) -> Tensor:
    """With a dimension for each one of the input."""
    return scale.reshape(*scale.shape, *(1 for _ in input.shape[2:]))


def _mean(input: Tensor) -> Tensor:
    return input.flatten(2).mean(2)


def _sum(input: Tensor) -> Tensor:
    return input.flatten(2).sum(2)


@torch.library.custom_op("proprelu::channel_means", mutates_args=())
def _means(input: Tensor) -> Tensor:
    return _means_of(input.detach()) if _is_ours(input) else _mean(input)


@_means.register_fake
def _(input: Tensor) -> Tensor:
    return input.new_empty(input.shape[:2])


@torch.library.custom_op("proprelu::scale_channels", mutates_args=())
def _scale(input: Tensor, scale: Tensor) -> Tensor:
    if _is_ours(input):
        return _scaled(input.detach(), scale.detach())
    return _laid_out(_product(input, scale), input)


@_scale.register_fake
def _(input: Tensor, scale: Tensor) -> Tensor:
    return _laid_out(torch.empty_like(input), input)


@torch.library.custom_op("proprelu::scale_channels_backward", mutates_args=())
def _scale_backward(grad: Tensor, input: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of input and scale."""
    if _is_ours(input):
        return _scaled_backward(grad.detach(), input.detach(), scale.detach())
    return _laid_out(_product(grad, scale), input), _sum(grad * input)


@_scale_backward.register_fake
def _(grad: Tensor, input: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return _laid_out(torch.empty_like(input), input), torch.empty_like(
        scale, memory_format=torch.contiguous_format
    )


def _is_ours(input: Tensor) -> bool:
    return input.device.type == "cpu" and input.dtype in _OURS and input.numel() > 0


def _laid_out(result: Tensor, input: Tensor) -> Tensor:
    """As the core lays out its results: like an input without gaps, else channel innermost."""
    if input.is_contiguous() and not _is_channels_last(input):
        return result.contiguous()
    return result.movedim(1, -1).contiguous().movedim(-1, 1)


def _is_channels_last(input: Tensor) -> bool:
    return input.movedim(1, -1).is_contiguous()


def _keep_shape(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.shape = inputs[0].shape


def _backward_of_means(ctx: Any, grad: Tensor) -> Tensor:
    grad = grad / math.prod(ctx.shape[2:])
    return grad.reshape(*grad.shape, *(1 for _ in ctx.shape[2:])).expand(ctx.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor] = _scale_backward(grad, *ctx.saved_tensors)
    return gradients


def _keep_more(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]
) -> None:
    ctx.save_for_backward(*inputs)


def _backward_again(ctx: Any, of_input: Tensor, of_scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of ``grad * scale`` and the sums of ``grad * input``."""
    grad, input, scale = ctx.saved_tensors
    of_scale = _over(of_scale, input)
    of_grad = of_input * _over(scale, input) + of_scale * input
    return of_grad, of_scale * grad, _sum(of_input * grad)


_means.register_autograd(_backward_of_means, setup_context=_keep_shape)
_scale.register_autograd(_backward, setup_context=_keep)
_scale_backward.register_autograd(_backward_again, setup_context=_keep_more)
