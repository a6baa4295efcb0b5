"""Global covariance pooling."""

from __future__ import annotations

from torch import Tensor, fx, nn

from proprelu.functional import covariance_pool

fx.wrap("covariance_pool")  # one node of a trace


class CovariancePool2d(nn.Module):
    """The square root of the covariance of channels, in the place of their means.

    Channels are first reduced by a 1x1 convolution, batch norm and ReLU; then
    :func:`proprelu.functional.covariance_pool` makes of each image the upper triangle of the root
    of its covariance. A linear layer for ``out_features`` numbers goes behind it.

    Args:
        num_channels: of the input.
        dim: channels after the reduction, d; None leaves the reduction out.
        num_iters: Newton-Schulz updates.
        method: ``"newton_schulz"`` or ``"eigh"``.
        gaussian: embed the means too, in one row and column more.
        anomaly: raise where the features are not finite.

    Attributes:
        out_features: of the result: d (d + 1) / 2, with ``gaussian`` (d + 1) (d + 2) / 2.

    Shape:
        (N, num_channels, H, W) -> (N, out_features), in float32 under autocast too.

    Raises:
        ValueError: settings out of range.

    Example:
        >>> import torch
        >>> pool = CovariancePool2d(64, dim=16)
        >>> pool(torch.randn(2, 64, 7, 7)).shape, pool.out_features
        (torch.Size([2, 136]), 136)

    Reference:
        Li et al., "Towards Faster Training of Global Covariance Pooling Networks by Iterative
        Matrix Square Root Normalization", arXiv 1712.01034; Li et al., arXiv 1703.08050 for
        ``"eigh"``; the Gaussian embedding as it is told of Wang et al., "G2DeNet", CVPR 2017.
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
                "num_channels, dim and num_iters must be 1 or more, got "
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
