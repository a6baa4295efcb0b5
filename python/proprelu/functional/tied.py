"""A convolution with one weight that all blocks of channels share."""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from proprelu.functional.exporting import is_exporting

Size = int | tuple[int, ...]


def tied_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    num_blocks: int = 2,
) -> Tensor:
    """Convolve each of ``num_blocks`` contiguous blocks of channels with the same weight.

    ``y = cat([conv2d(block, weight, bias) for block in input.chunk(num_blocks, dim=1)], dim=1)``,
    computed by one convolution. The gradient of the weight is the sum over the blocks. A contiguous
    input (NCHW) is reshaped to ``num_blocks`` times as many images, which copies nothing. For any
    other layout the blocks become groups, and the weight is repeated.

    Args:
        input: (N, in_channels, H, W).
        weight: (out_channels / num_blocks, in_channels / (num_blocks * groups), kH, kW).
        bias: (out_channels / num_blocks,).
        stride: see ``torch.nn.functional.conv2d``.
        padding: see ``torch.nn.functional.conv2d``.
        dilation: see ``torch.nn.functional.conv2d``.
        groups: the number of groups inside each block.
        num_blocks: the number of blocks; divides in_channels.

    Returns:
        (N, out_channels, H', W'), in the memory format of the input.

    Raises:
        RuntimeError: the shapes do not match, as from ``conv2d``.

    Example:
        >>> x, weight = torch.randn(2, 8, 5, 5), torch.randn(6, 4, 3, 3)
        >>> y = tied_conv2d(x, weight, padding=1, num_blocks=2)
        >>> blocks = [F.conv2d(block, weight, padding=1) for block in x.chunk(2, 1)]
        >>> torch.allclose(y, torch.cat(blocks, 1), atol=1e-5)
        True

    Reference:
        Wang and Yu, "Tied Block Convolution: Leaner and Better CNNs with Shared Thinner Filters",
        arXiv 2009.12021.
    """
    if _has_planes(input):
        n, _, h, w = input.shape
        blocks = input.reshape(n * num_blocks, -1, h, w)
        y = F.conv2d(blocks, weight, bias, stride, padding, dilation, groups)
        return y.reshape(n, num_blocks * y.shape[1], y.shape[2], y.shape[3])
    weight = weight.repeat(num_blocks, 1, 1, 1)
    bias = None if bias is None else bias.repeat(num_blocks)
    return F.conv2d(input, weight, bias, stride, padding, dilation, num_blocks * groups)


def _has_planes(input: Tensor) -> bool:
    """Whether a block of channels is contiguous; False for exports, which allow any layout."""
    if isinstance(input, fx.Proxy) or is_exporting():
        return False
    return input.is_contiguous() and not input.is_contiguous(memory_format=torch.channels_last)
