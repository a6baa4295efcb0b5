"""A convolution with quantized operands, forward and backward, as one operation of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from proprelu.functional.exporting import is_exporting
from proprelu.functional.int8.clipping import clipped_scales
from proprelu.functional.int8.quantizer import LEVELS, largest, quantized
from proprelu.functional.int8.settings import Int8

__all__ = ["int8_conv2d"]

Size = int | Sequence[int]


def int8_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    input_scale: Tensor | None = None,
    channel_scales: Tensor | None = None,
    tensor_scale: Tensor | None = None,
    settings: Int8 = Int8(),  # noqa: B008  frozen
) -> Tensor:
    """A convolution that multiplies 8-bit integers, in the forward and in both of its gradients.

    ``q(x) = round(127 clamp(x, -s, s) / s)`` with a scale ``s`` for the input, for the weight, and
    for the gradient of the output; products are sums of integers, times the scales. The derivatives
    take the quantizers as the identity. Gradients of the bias are not quantized.

    This computes with integers that are stored as floating-point numbers, on any device: it gives
    the results of integers, up to the rounding of sums above 2**24, and it is not faster.

    Args:
        input: (N, C, H, W).
        weight: (out_channels, C / groups, kH, kW).
        bias: (out_channels,).
        stride: see ``torch.nn.functional.conv2d``.
        padding: of zeros, as numbers.
        dilation: see ``torch.nn.functional.conv2d``.
        groups: see ``torch.nn.functional.conv2d``.
        input_scale: a scalar; by default the largest magnitude of the input.
        channel_scales: (out_channels,), the scales of the gradient's channels in the step before,
            0 if there was none; the backward writes the new ones.
        tensor_scale: a scalar, likewise for the whole gradient.
        settings: how gradients are quantized.

    Returns:
        (N, out_channels, H', W'), in the dtype of the input.

    Raises:
        RuntimeError: the shapes do not match, as from ``conv2d``.

    Example:
        >>> x, weight = torch.randn(2, 8, 5, 5), torch.randn(6, 8, 3, 3)
        >>> error = int8_conv2d(x, weight) - F.conv2d(x, weight)
        >>> bool(error.norm() < 0.02 * F.conv2d(x, weight).norm())
        True

    Reference:
        Zhao et al., "Distribution Adaptive INT8 Quantization for Training CNNs", arXiv 2102.04782.
    """
    geometry = _pair(stride), _pair(padding), _pair(dilation), groups
    scale = largest(input) if input_scale is None else input_scale
    if is_exporting():
        # An exported program must run without this package.
        return _forward(input, weight, bias, scale, *geometry)[0]
    if channel_scales is None:
        channel_scales = weight.new_zeros(len(weight), dtype=torch.float32)
    if tensor_scale is None:
        tensor_scale = weight.new_zeros((), dtype=torch.float32)
    y: Tensor = _conv(
        input, weight, bias, scale, channel_scales, tensor_scale, *geometry,
        settings.clipping, settings.per_channel, settings.rounding == "stochastic",
        settings.delayed, settings.gaussian_share, settings.rate, settings.k,
    )[0]  # fmt: skip
    return y


def _pair(size: Size) -> list[int]:
    return [int(size)] * 2 if isinstance(size, int) else [int(each) for each in size]


def _forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    input_scale: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The result, the integers of input and weight, and the scale of the weight."""
    with torch.autocast(input.device.type, enabled=False):
        dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
        weight_scale, input_scale = largest(weight).to(dtype), input_scale.to(dtype)
        x, w = quantized(input, input_scale), quantized(weight, weight_scale)
        sums = F.conv2d(x.to(dtype), w.to(dtype), None, stride, padding, dilation, groups)
        y = sums * (input_scale * weight_scale / LEVELS**2)
        y = y if bias is None else y + bias.to(dtype)[:, None, None]
        return y.to(input.dtype), x, w, weight_scale


@torch.library.custom_op("proprelu::int8_conv2d", mutates_args=())
def _conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    input_scale: Tensor,
    channel_scales: Tensor,
    tensor_scale: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    clipping: str,
    per_channel: bool,
    stochastic: bool,
    delayed: bool,
    gaussian_share: float,
    rate: float,
    k: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _forward(input, weight, bias, input_scale, stride, padding, dilation, groups)


@_conv.register_fake
def _(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    input_scale: Tensor,
    channel_scales: Tensor,
    tensor_scale: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _forward(input, weight, bias, input_scale, *rest[:4])


@torch.library.custom_op("proprelu::int8_scales", mutates_args=("channel_scales", "tensor_scale"))
def _scales(
    grad: Tensor,
    channel_scales: Tensor,
    tensor_scale: Tensor,
    clipping: str,
    per_channel: bool,
    delayed: bool,
    gaussian_share: float,
    rate: float,
    k: float,
) -> tuple[Tensor, Tensor]:
    """The scales to quantize a gradient with; the given ones become those of this step."""
    rule = (clipping, gaussian_share, rate, k)
    rows = (grad if grad.dtype == torch.float64 else grad.float()).transpose(0, 1).flatten(1)

    def step(rows: Tensor, kept: Tensor) -> Tensor:
        before = kept.to(rows, copy=True)
        scales = clipped_scales(rows, before, *rule)
        kept.copy_(scales)
        return torch.where(before > 0, before, scales) if delayed else scales

    of_tensor = step(rows.reshape(1, -1), tensor_scale.view(1))
    of_channels = step(rows, channel_scales) if per_channel else of_tensor.repeat(len(rows))
    return of_channels.to(channel_scales), of_tensor[0].to(tensor_scale, copy=True)


@_scales.register_fake
def _(grad: Tensor, channel_scales: Tensor, tensor_scale: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(channel_scales), torch.empty_like(tensor_scale)


@torch.library.custom_op(
    "proprelu::int8_conv2d_backward",
    mutates_args=(),
    tags=(torch.Tag.nondeterministic_seeded,),
)
def _backward(
    grad: Tensor,
    x: Tensor,
    w: Tensor,
    input_scale: Tensor,
    weight_scale: Tensor,
    channel_scales: Tensor,
    tensor_scale: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    stochastic: bool,
) -> tuple[Tensor, Tensor]:
    """The gradients of input and weight."""
    dtype = weight_scale.dtype
    channel_scales, tensor_scale = channel_scales.to(dtype), tensor_scale.to(dtype)

    def product(scale: Tensor, wanted: int) -> Tensor:
        g = quantized(grad, scale, stochastic).to(dtype)
        mask = [wanted == 0, wanted == 1, False]
        layer = (None, stride, padding, dilation, False, [0, 0], groups, mask)
        given = (g, x.to(dtype), w.to(dtype))
        found: Tensor = torch.ops.aten.convolution_backward(*given, *layer)[wanted]
        return found

    with torch.autocast(grad.device.type, enabled=False):
        of_input = product(tensor_scale, 0) * (tensor_scale * weight_scale / LEVELS**2)
        of_weight = product(channel_scales[:, None, None], 1)
        factors = channel_scales * input_scale.to(dtype) / LEVELS**2
        return of_input.to(grad.dtype), of_weight * factors[:, None, None, None]


@_backward.register_fake
def _(
    grad: Tensor, x: Tensor, w: Tensor, input_scale: Tensor, weight_scale: Tensor, *_: Any
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, dtype=grad.dtype), torch.empty_like(w, dtype=weight_scale.dtype)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, weight, bias, input_scale, channel_scales, tensor_scale, *rest = inputs
    _, x, w, weight_scale = output
    ctx.geometry, ctx.settings = rest[:4], rest[4:]
    ctx.save_for_backward(x, w, input_scale, weight_scale)
    # Not saved by autograd, which would refuse to give back what another backward has changed.
    ctx.scales, ctx.weight_dtype = (channel_scales, tensor_scale), weight.dtype
    ctx.bias_dtype = None if bias is None else bias.dtype


def _differentiate(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    clipping, per_channel, stochastic, delayed, *rule = ctx.settings
    used = _scales(grad, *ctx.scales, clipping, per_channel, delayed, *rule)
    of_input, of_weight = _backward(grad, *ctx.saved_tensors, *used, *ctx.geometry, stochastic)
    of_bias = None if ctx.bias_dtype is None else grad.float().sum((0, 2, 3)).to(ctx.bias_dtype)
    unchanged = [None] * (3 + len(ctx.geometry) + len(ctx.settings))
    return of_input, of_weight.to(ctx.weight_dtype), of_bias, *unchanged


_conv.register_autograd(_differentiate, setup_context=_setup_context)
