"""A convolution whose bias is another one at the border of the image."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class BorderedConv2d(nn.Conv2d):
    """A convolution with a bias that depends on the distance from the border.

    ``y = weight * x + bias - border * outside``, where ``outside`` is an image of zeros whose
    padding is one, so that its term differs from zero only at the border. ``proprelu.merge`` makes
    such layers of a pointwise convolution with a bias and a padded one: the second reads zeros in
    its padding, not the bias of the first.

    Args:
        args: those of ``Conv2d``; the padding has to be one of zeros, given as numbers.
        kwargs: those of ``Conv2d``.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H', W'), as in ``Conv2d``. The parameter
        ``border`` is (out_channels, 1, kH, kW).

    Example:
        >>> import torch
        >>> layer = BorderedConv2d(2, 4, 3, padding=1)
        >>> layer(torch.randn(1, 2, 8, 8)).shape, layer.border.shape
        (torch.Size([1, 4, 8, 8]), torch.Size([4, 1, 3, 3]))
    """

    # Traced as one node, like torch's own layers.
    traced_whole = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shape = (self.out_channels, 1, *self.kernel_size)
        self.border = nn.Parameter(self.weight.new_zeros(shape))

    def forward(self, input: Tensor) -> Tensor:
        vertical, horizontal = (int(size) for size in self.padding)
        inside = input.new_zeros((1, 1, *input.shape[-2:]))
        outside = F.pad(inside, (horizontal, horizontal, vertical, vertical), value=1.0)
        excess = F.conv2d(outside, self.border, None, self.stride, 0, self.dilation)
        y = super().forward(input)
        return y.sub_(excess if input.dim() == 4 else excess[0])
