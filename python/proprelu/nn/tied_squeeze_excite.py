"""Squeeze-and-excitation with weights that blocks of channels share."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from proprelu.functional import channel_means, scale_channels
from proprelu.nn.divided import check_divides

# one node of a trace, each
fx.wrap("channel_means")
fx.wrap("scale_channels")


class TiedSqueezeExcite(nn.Module):
    """Gates for channels, from their means, by two linear layers that all blocks share.

    ``x * sigmoid(W2 relu(W1 mean(x_b)))`` for each block ``x_b`` of C / B channels, with
    max(2, C / (B r)) hidden features: about 2 C^2 / (r B^2) weights, at B = 8 a 64th of those of
    squeeze-and-excitation.

    Args:
        channels: C.
        num_blocks: B; divides ``channels``.
        reduction: r.

    Shape:
        (N, C, H, W) -> (N, C, H, W).

    Raises:
        ValueError: blocks that do not divide the channels; a reduction below 1.

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
            raise ValueError(f"reduction must be 1 or more, got {reduction}")
        self.channels, self.num_blocks = channels, num_blocks
        of_block = channels // num_blocks
        hidden = max(2, of_block // reduction)
        self.reduce = nn.Linear(of_block, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.expand = nn.Linear(hidden, of_block)

    def forward(self, input: Tensor) -> Tensor:
        means = channel_means(input).reshape(-1, self.reduce.in_features)
        gates = torch.sigmoid(self.expand(self.relu(self.reduce(means))))
        return scale_channels(input, gates.reshape(-1, self.channels))

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_blocks={self.num_blocks}"
