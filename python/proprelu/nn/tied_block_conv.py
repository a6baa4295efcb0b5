"""Tied block convolution: a layer with filters that blocks of channels share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proprelu.functional import tied_conv2d
from proprelu.nn.divided import check_divides

_Pair = int | tuple[int, int]


class TiedBlockConv2d(nn.Conv2d):
    """A convolution with one weight that ``num_blocks`` blocks of channels share.

    ``y_b = W * x_b + bias`` for each block ``x_b`` of in_channels / B contiguous channels; the
    outputs are concatenated in the order of the blocks. The weight is (out_channels / B,
    in_channels / (B groups), kH, kW) and the bias (out_channels / B,). Compared with a dense
    convolution it has 1 / (B^2 groups) of the parameters and 1 / (B groups) of the multiplications.
    As in a grouped convolution, the outputs of a block depend only on that block: mix the channels
    in other layers, or tie only some layers.

    It is a subclass of ``Conv2d``, which differs in the shape of its parameters only. Code that
    searches for convolutions, such as ``proprelu.convert``, therefore includes it.

    Args:
        in_channels: the channels of the input.
        out_channels: the channels of the output.
        kernel_size: the size of the shared filters.
        stride: the stride of the convolution.
        padding: the zero padding on each side.
        dilation: the dilation of the kernel.
        groups: the number of groups inside each block.
        bias: whether there is a bias, which all blocks share.
        num_blocks: B; divides in_channels and out_channels.
        device: the device of the parameters.
        dtype: the dtype of the parameters.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H', W'), as in ``Conv2d``.

    Raises:
        ValueError: the blocks or groups do not divide the channels.

    Example:
        >>> layer = TiedBlockConv2d(32, 64, 3, padding=1, num_blocks=4)
        >>> layer(torch.randn(2, 32, 7, 7)).shape, layer.weight.shape
        (torch.Size([2, 64, 7, 7]), torch.Size([16, 8, 3, 3]))

    Reference:
        Wang and Yu, "Tied Block Convolution: Leaner and Better CNNs with Shared Thinner Filters",
        arXiv 2009.12021.
    """

    # Traced as one node, like torch's own layers.
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
        block_channels = {
            "in_channels of a block": in_channels // num_blocks,
            "out_channels of a block": out_channels // num_blocks,
        }
        check_divides("groups", groups, **block_channels)
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
        conv: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{conv}, num_blocks={self.num_blocks}"
