"""Global covariance pooling as a layer."""

from __future__ import annotations

from torch import Tensor, fx, nn

from proprelu.functional import covariance_pool

fx.wrap("covariance_pool")  # traced as one node


class CovariancePool2d(nn.Module):
    """Pools an image to the square root of the covariance of its channels.

    It replaces global average pooling, which computes the means of the channels. The channels are
    first reduced by a 1x1 convolution, batch norm and ReLU. The output is the upper triangle of the
    root of the covariance, from ``proprelu.functional.covariance_pool``. A linear layer with
    ``out_features`` inputs usually follows.

    Args:
        num_channels: the channels of the input.
        dim: d, the channels after the reduction; None omits the reduction.
        num_iters: the number of Newton-Schulz iterations.
        method: ``"newton_schulz"`` or ``"eigh"``.
        gaussian: embed the means too, which adds one row and column.
        anomaly: raise an error if the features are not finite.

    Attributes:
        out_features: the size of the output: d (d + 1) / 2, or (d + 1) (d + 2) / 2 with
            ``gaussian``.

    Shape:
        (N, num_channels, H, W) -> (N, out_features), in float32 also under autocast.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> import torch
        >>> pool = CovariancePool2d(64, dim=16)
        >>> pool(torch.randn(2, 64, 7, 7)).shape, pool.out_features
        (torch.Size([2, 136]), 136)

    Reference:
        Li et al., "Towards Faster Training of Global Covariance Pooling Networks by Iterative
        Matrix Square Root Normalization", arXiv 1712.01034; Li et al., arXiv 1703.08050 for
        ``"eigh"``; the Gaussian embedding is that of Wang et al., "G2DeNet", CVPR 2017, taken from
        secondary sources.
    """

    def __init__(
        self,
        num_channels: int,
        dim: int | None = 256,
        num_iters: int = 5,
        method: str = "newton_schulz",
        gaussian: bool = False,
        anomaly: bool = False,
    ) -> None:
        super().__init__()
        if num_channels < 1 or num_iters < 1 or (dim is not None and dim < 1):
            raise ValueError(
                "num_channels, dim and num_iters must be at least 1, got "
                f"{num_channels}, {dim} and {num_iters}"
            )
        if method not in ("newton_schulz", "eigh"):
            raise ValueError(f'method must be "newton_schulz" or "eigh", got {method!r}')
        self.num_iters, self.method = num_iters, method
        self.gaussian, self.anomaly = gaussian, anomaly
        self.reduce: nn.Module = nn.Identity()
        if dim is not None:
            self.reduce = nn.Sequential(
                nn.Conv2d(num_channels, dim, 1, bias=False),
                nn.BatchNorm2d(dim),
                nn.ReLU(inplace=True),
            )
        size = (num_channels if dim is None else dim) + gaussian
        self.out_features = size * (size + 1) // 2

    def forward(self, input: Tensor) -> Tensor:
        x = self.reduce(input)
        return covariance_pool(x, self.num_iters, self.method, self.gaussian, self.anomaly)

    def extra_repr(self) -> str:
        return f"num_iters={self.num_iters}, method={self.method}, gaussian={self.gaussian}"
