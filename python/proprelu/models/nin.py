"""Network in Network.

Reference:
    Lin, Chen and Yan, "Network In Network", arXiv 1312.4400: three mlpconv layers and a global
    average instead of a linear layer. Batch norm after each convolution is an addition.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from proprelu._core import Ratio
from proprelu.nn import relus


class MLPConv(nn.Sequential):
    """A spatial convolution and two 1x1 convolutions.

    Shape:
        (B, in_channels, H, W) -> (B, channels[-1], H, W).
    """

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, int, int],
        kernel_size: int,
        relus: Iterator[nn.Module],
    ) -> None:
        layers: list[nn.Module] = []
        for out_channels, size in zip(channels, (kernel_size, 1, 1), strict=True):
            layers += [
                nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False),
                nn.BatchNorm2d(out_channels),
                next(relus),
            ]
            in_channels = out_channels
        super().__init__(*layers)


class NIN(nn.Module):
    """Three mlpconv layers with pooling and dropout between them, and a global average.

    The arguments are those of ``nin``.
    """

    def __init__(
        self,
        ratio: str | tuple[int, int] | Ratio,
        placement: str | Sequence[bool],
        num_classes: int,
        in_channels: int,
        width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        acts = iter(relus(9, ratio, placement))
        self.mlpconv1 = MLPConv(in_channels, (width, width * 5 // 6, width // 2), 5, acts)
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
        self.dropout1 = nn.Dropout(dropout)
        self.mlpconv2 = MLPConv(width // 2, (width, width, width), 5, acts)
        self.pool2 = nn.AvgPool2d(3, stride=2, padding=1)
        self.dropout2 = nn.Dropout(dropout)
        self.mlpconv3 = MLPConv(width, (width, width, num_classes), 3, acts)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout1(self.pool1(self.mlpconv1(x)))
        x = self.dropout2(self.pool2(self.mlpconv2(x)))
        result: Tensor = self.avgpool(self.mlpconv3(x)).flatten(1)
        return result


def nin(
    ratio: str | tuple[int, int] | Ratio = "1:1",
    placement: str | Sequence[bool] = "last",
    num_classes: int = 10,
    in_channels: int = 3,
    width: int = 192,
    dropout: float = 0.5,
) -> NIN:
    """Build a Network in Network.

    Args:
        ratio: convolutions to ReLUs, over the 9 convolutions.
        placement: which ReLUs are kept, see ``proprelu.plan_for``.
        num_classes: the length of the output.
        in_channels: the channels of the images.
        width: the channels of the spatial convolutions.
        dropout: the probability of dropout after each pooling.

    Returns:
        The network, with random weights.

    Shape:
        (B, in_channels, H, W) -> (B, num_classes).

    Raises:
        ValueError: see ``proprelu.plan_for``.

    Example:
        >>> import torch
        >>> nin("3:1", width=12).eval()(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return NIN(ratio, placement, num_classes, in_channels, width, dropout)
