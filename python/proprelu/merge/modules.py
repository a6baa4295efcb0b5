"""Makes modules of convolutions that were merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from proprelu._core import ConvGeometry, Convolution
from proprelu.nn import BorderedConv2d, BorderedSequential, FramedConv2d


class Form(NamedTuple):
    """How a model computes: dtype, device and memory format."""

    dtype: torch.dtype
    device: torch.device
    channels_last: bool

    def put(self, tensor: Tensor) -> Tensor:
        """A tensor in this form."""
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        return tensor.to(self.device, self.dtype).contiguous(memory_format=order)


def form_of(net: nn.Module, example_input: object) -> Form:
    """The form in which a model computes: of its first convolution, and of the example.

    As in torch, a convolution computes in channels_last where its input or its weight is stored so.

    Args:
        net: the model.
        example_input: a tensor, or a tuple of the forward's arguments.
    """
    weights = [
        module.weight
        for module in net.modules()
        if isinstance(module, nn.Conv2d) and isinstance(module.weight, Tensor)
    ]
    inputs = [value for value in tree_leaves(example_input) if isinstance(value, Tensor)]
    channels_last = any(map(_is_channels_last, (*inputs, *weights)))
    if not weights:
        return Form(torch.get_default_dtype(), torch.device("cpu"), channels_last)
    return Form(weights[0].dtype, weights[0].device, channels_last)


def _is_channels_last(value: Tensor) -> bool:
    """Whether the strides are those of channels_last and no others.

    ``is_contiguous`` is true for both formats if there is one channel, or one pixel.
    """
    if value.dim() != 4 or value.layout != torch.strided:
        return False
    last, other = (
        torch.empty(value.shape, device="meta", memory_format=order).stride()[1:]
        for order in (torch.channels_last, torch.contiguous_format)
    )
    return value.stride()[1:] == last != other


def empty_module(
    geometry: ConvGeometry,
    single: Sequence[ConvGeometry],
    form: Form,
    size: tuple[int, ...],
) -> nn.Module:
    """A module of this geometry with random weights.

    Args:
        geometry: of the merged convolution.
        single: of the convolutions that compute its frame, if it has one.
        form: of the weights.
        size: height and width of the images, for which the correction of a border is stored.
    """
    conv = _empty_conv(geometry, form)
    if not any(geometry.frame):
        height, width = size
        return BorderedSequential(conv, size=(height, width)).eval() if geometry.border else conv
    parts = nn.Sequential(*(_empty_conv(each, form) for each in single))
    return FramedConv2d(conv, parts, geometry.frame)


def module_of(merged: Convolution, single: Sequence[Convolution], form: Form) -> nn.Module:
    """The module that computes a merged convolution.

    Args:
        merged: the convolution.
        single: those that compute its frame, if it has one.
        form: of the weights.
    """
    conv = _conv(merged, form)
    if not any(merged.geometry.frame):
        return conv
    parts = nn.Sequential(*(_conv(each, form) for each in single))
    return FramedConv2d(conv, parts, merged.geometry.frame).eval()


def _empty_conv(geometry: ConvGeometry, form: Form) -> nn.Conv2d:
    kind = BorderedConv2d if geometry.border else nn.Conv2d
    conv = kind(
        geometry.in_channels,
        geometry.out_channels,
        geometry.kernel_size,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.groups,
        bias=geometry.bias or geometry.border,
        device=form.device,
        dtype=form.dtype,
    )
    order: Any = torch.channels_last if form.channels_last else torch.contiguous_format
    module: Any = conv.requires_grad_(False).eval()
    made: nn.Conv2d = module.to(memory_format=order)
    return made


def _conv(convolution: Convolution, form: Form) -> nn.Conv2d:
    # The layer has no bias if it is zero.
    conv = _empty_conv(convolution.geometry, form)
    border, bias = convolution.border, convolution.bias
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(convolution.weight))
        if isinstance(conv, BorderedConv2d) and border is not None:
            # Away from the border, the image of ones adds all of its weight.
            bias = bias + border.sum((1, 2, 3))
            conv.border.copy_(torch.from_numpy(border))
        if conv.bias is not None:
            conv.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))
    return conv
