"""Squeeze-and-excitation with weights that all blocks of channels share."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from proprelu.functional import channel_means, scale_channels
from proprelu.nn.divided import check_divides

# Each is traced as one node.
fx.wrap("channel_means")
fx.wrap("scale_channels")


class TiedSqueezeExcite(nn.Module):
    """Gates channels by their means, with two linear layers that all blocks of channels share.

    ``x_b * sigmoid(W2 relu(W1 mean(x_b)))`` for each block ``x_b`` of C / B channels, with
    max(2, C / (B r)) hidden features. It has about 2 C^2 / (r B^2) weights, 1 / B^2 of those of
    squeeze-and-excitation.

    Args:
        channels: C, the channels of the input.
        num_blocks: B; divides ``channels``.
        reduction: r, the ratio of channels to hidden features.

    Shape:
        (N, C, H, W) -> (N, C, H, W).

    Raises:
        ValueError: the blocks do not divide the channels, or the reduction is below 1.

    Example:
        >>> gate = TiedSqueezeExcite(64, num_blocks=4)
        >>> gate(torch.randn(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
        >>> sum(p.numel() for p in gate.parameters())
        82

    Reference:
        Wang and Yu, "Tied Block Convolution", arXiv 2009.12021; squeeze-and-excitation: Hu et al.,
        arXiv 1709.01507.
    """

    def __init__(self, channels: int, num_blocks: int = 8, reduction: int = 16) -> None:
        super().__init__()
        check_divides("num_blocks", num_blocks, channels=channels)
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction}")
        self.channels, self.num_blocks = channels, num_blocks
        block_channels = channels // num_blocks
        hidden = max(2, block_channels // reduction)
        self.reduce = nn.Linear(block_channels, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.expand = nn.Linear(hidden, block_channels)

    def forward(self, input: Tensor) -> Tensor:
        means = channel_means(input).reshape(-1, self.reduce.in_features)
        gates = torch.sigmoid(self.expand(self.relu(self.reduce(means))))
        return scale_channels(input, gates.reshape(-1, self.channels))

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_blocks={self.num_blocks}"
