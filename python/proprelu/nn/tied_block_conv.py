"""Tied block convolution: thinner filters, shared by blocks of channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proprelu.functional import tied_conv2d
from proprelu.nn.divided import check_divides

_Pair = int | tuple[int, int]


class TiedBlockConv2d(nn.Conv2d):
    """A convolution whose ``num_blocks`` blocks of channels share one weight.

    ``y_b = W * x_b + bias`` for each block ``x_b`` of in_channels / B contiguous channels; the
    outputs stand in the order of the blocks. The weight is (out_channels / B, in_channels /
    (B groups), kH, kW) and the bias (out_channels / B,): 1 / (B^2 groups) of the parameters of a
    dense convolution, and 1 / (B groups) of its multiplications. No output sees another block, as
    in a grouped convolution: mix channels elsewhere, or tie some layers only.

    A ``Conv2d`` in all but the shape of its parameters, so that what looks for convolutions
    (:func:`proprelu.convert` among them) finds it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of the shared filters.
        stride: of the convolution.
        padding: of zeros, on each side.
        dilation: of the kernel.
        groups: groups inside each block.
        bias: whether outputs have a bias, the same for all blocks.
        num_blocks: B; divides in_channels and out_channels.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H', W'), as of ``Conv2d``.

    Raises:
        ValueError: blocks or groups that do not divide the channels.

    Example:
        >>> layer = TiedBlockConv2d(32, 64, 3, padding=1, num_blocks=4)
        >>> layer(torch.randn(2, 32, 7, 7)).shape, layer.weight.shape
        (torch.Size([2, 64, 7, 7]), torch.Size([16, 8, 3, 3]))

    Reference:
        Wang and Yu, "Tied Block Convolution: Leaner and Better CNNs with Shared Thinner Filters",
        arXiv 2009.12021.
    """

    # one node of a trace, as torch's own layers are
    traced_whole = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Pair,
        stride: _Pair = 1,
        padding: _Pair = 0,
        dilation: _Pair = 1,
        groups: int = 1,
        bias: bool = True,
        num_blocks: int = 2,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_divides("num_blocks", num_blocks, in_channels=in_channels, out_channels=out_channels)
        of_block = {
            "in_channels of a block": in_channels // num_blocks,
            "out_channels of a block": out_channels // num_blocks,
        }
        check_divides("groups", groups, **of_block)
        super().__init__(
            in_channels // num_blocks,
            out_channels // num_blocks,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            device=device,
            dtype=dtype,
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.num_blocks = num_blocks

    def forward(self, input: Tensor) -> Tensor:
        return tied_conv2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.num_blocks,
        )

    def extra_repr(self) -> str:
        of_conv: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{of_conv}, num_blocks={self.num_blocks}"
