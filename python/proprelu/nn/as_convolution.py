"""Reads layers as convolutions in float64, which the core merges."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proprelu._core import ConvGeometry, Convolution


def padding_of(conv: nn.Conv2d) -> tuple[int, int] | None:
    """The padding of both sides, None if they differ."""
    if not isinstance(conv.padding, str):
        height, width = conv.padding
        return int(height), int(width)
    if conv.padding == "valid":
        return 0, 0
    reach = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    return None if any(each % 2 for each in reach) else (reach[0] // 2, reach[1] // 2)


def geometry_of(conv: nn.Conv2d) -> ConvGeometry:
    """The geometry of a layer with a padding of zeros; blocks that share a weight are groups."""
    padding = padding_of(conv)
    if padding is None or conv.padding_mode != "zeros":
        raise ValueError(f"conv must have the same zero padding on both sides, got {conv}")
    return ConvGeometry(
        conv.in_channels,
        conv.out_channels,
        _pair(conv.kernel_size),
        _pair(conv.stride),
        padding,
        _pair(conv.dilation),
        conv.groups * getattr(conv, "num_blocks", 1),
        conv.bias is not None,
    )


def convolution_of(conv: nn.Conv2d) -> Convolution:
    """The numbers of a layer; see ``geometry_of``."""
    blocks = getattr(conv, "num_blocks", 1)
    weight = np.tile(_as_float64(conv.weight), (blocks, 1, 1, 1))
    bias = np.zeros(conv.out_channels // blocks) if conv.bias is None else _as_float64(conv.bias)
    return Convolution(geometry_of(conv), weight, np.tile(bias, blocks))


def norm_as_convolution(
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Convolution:
    """A batch norm in evaluation mode as a 1x1 convolution of each channel."""
    scale = 1 / np.sqrt(_as_float64(running_var) + eps)
    scale = scale if weight is None else scale * _as_float64(weight)
    shift = -_as_float64(running_mean) * scale
    return Convolution.norm(scale, shift if bias is None else shift + _as_float64(bias))


def folded(conv: nn.Module, norm: nn.Module) -> nn.Conv2d | None:
    """A convolution that computes another one and the batch norm after it, in evaluation mode.

    None if these are other layers, or the norm has no running statistics.
    """
    if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d:
        return None
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        return None
    both = convolution_of(conv).then(
        norm_as_convolution(mean, var, norm.weight, norm.bias, norm.eps)
    )
    settings: Any = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    form: Any = {"device": conv.weight.device, "dtype": conv.weight.dtype}
    new = nn.Conv2d(conv.in_channels, conv.out_channels, *settings, **form)
    with torch.no_grad():
        new.weight.copy_(torch.from_numpy(both.weight))
        assert new.bias is not None
        new.bias.copy_(torch.from_numpy(both.bias))
    return new.requires_grad_(conv.weight.requires_grad).train(conv.training)


def _as_float64(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The values of a tensor of any device and dtype."""
    return np.ascontiguousarray(tensor.detach().double().cpu().numpy())


def _pair(size: tuple[int, ...]) -> tuple[int, int]:
    return size[0], size[1]
