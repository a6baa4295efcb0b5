"""A linear layer with one weight that all blocks of features share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proprelu.nn.divided import check_divides


class TiedLinear(nn.Module):
    """One small linear layer, applied to each of ``num_blocks`` blocks of features.

    ``y_b = W x_b + bias`` for each block ``x_b`` of in_features / B features. Compared with a dense
    layer it has 1 / B^2 of the parameters and 1 / B of the multiplications.

    Args:
        in_features: the features of the input.
        out_features: the features of the output.
        bias: whether there is a bias, which all blocks share.
        num_blocks: B; divides in_features and out_features.
        device: the device of the parameters.
        dtype: the dtype of the parameters.

    Shape:
        (..., in_features) -> (..., out_features).

    Raises:
        ValueError: the blocks do not divide the features.

    Example:
        >>> layer = TiedLinear(32, 8, num_blocks=4)
        >>> layer(torch.randn(5, 32)).shape, layer.weight.shape
        (torch.Size([5, 8]), torch.Size([2, 8]))

    Reference:
        Wang and Yu, "Tied Block Convolution", arXiv 2009.12021.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        num_blocks: int = 2,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_divides("num_blocks", num_blocks, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.num_blocks = num_blocks
        shared = nn.Linear(
            in_features // num_blocks, out_features // num_blocks, bias, device, dtype
        )
        self.weight = shared.weight
        self.bias: nn.Parameter | None
        self.register_parameter("bias", shared.bias)

    def forward(self, input: Tensor) -> Tensor:
        blocks = torch.unflatten(input, -1, (self.num_blocks, -1))
        return nn.functional.linear(blocks, self.weight, self.bias).flatten(-2)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, num_blocks={self.num_blocks}"
        )
