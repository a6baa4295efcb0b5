"""DenseNet-BC for small images.

Reference:
    Huang et al., "Densely Connected Convolutional Networks", arXiv 1608.06993: bottlenecks of four
    times the growth rate, compression by one half, norm and ReLU before each convolution.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from proprelu._core import Ratio
from proprelu.nn import relus


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 conv, norm, ReLU, 3x3 conv; the result is concatenated to the input.

    Shape:
        (B, in_channels, H, W) -> (B, in_channels + growth_rate, H, W).
    """

    def __init__(self, in_channels: int, growth_rate: int, relus: Iterator[nn.Module]) -> None:
        super().__init__()
        inner = 4 * growth_rate
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = next(relus)
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.relu2 = next(relus)
        self.conv2 = nn.Conv2d(inner, growth_rate, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(self.relu1(self.norm1(x)))
        new = self.conv2(self.relu2(self.norm2(new)))
        return torch.cat([x, new], 1)


class Transition(nn.Sequential):
    """Norm, ReLU, a 1x1 convolution to half the channels, and average pooling by two.

    Shape:
        (B, in_channels, H, W) -> (B, in_channels // 2, H // 2, W // 2).
    """

    def __init__(self, in_channels: int, relu: nn.Module) -> None:
        super().__init__(
            nn.BatchNorm2d(in_channels),
            relu,
            nn.Conv2d(in_channels, in_channels // 2, 1, bias=False),
            nn.AvgPool2d(2),
        )


class DenseNet(nn.Module):
    """A 3x3 stem, three dense blocks with transitions between them, norm, ReLU, average, linear.

    Args:
        layers: the layers of each dense block; the depth is ``6 * layers + 4``.

    The other arguments are those of ``densenet``.
    """

    def __init__(
        self,
        layers: int,
        ratio: str | tuple[int, int] | Ratio,
        placement: str | Sequence[bool],
        num_classes: int,
        in_channels: int,
        growth_rate: int,
    ) -> None:
        super().__init__()
        acts = iter(relus(_blocks(layers), ratio, placement))
        channels = 2 * growth_rate
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        stages: list[nn.Module] = []
        for stage in range(3):
            for _ in range(layers):
                stages.append(DenseLayer(channels, growth_rate, acts))
                channels += growth_rate
            if stage < 2:
                stages.append(Transition(channels, next(acts)))
                channels //= 2
        self.layers = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = next(acts)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.layers(self.conv(x))))
        result: Tensor = self.fc(self.avgpool(x).flatten(1))
        return result


def _blocks(layers: int) -> list[int | None]:
    """The blocks of all sites: each dense layer is a block; transitions and the end are in none."""
    blocks: list[int | None] = []
    for stage in range(3):
        blocks += [stage * layers + i // 2 for i in range(2 * layers)]
        blocks.append(None)
    return blocks


def densenet(
    depth: int = 40,
    ratio: str | tuple[int, int] | Ratio = "1:1",
    placement: str | Sequence[bool] = "last",
    num_classes: int = 10,
    in_channels: int = 3,
    growth_rate: int = 12,
) -> DenseNet:
    """Build a DenseNet-BC for small images.

    Args:
        depth: 6n + 4: 40, 100, 190, ...
        ratio: convolutions to ReLUs, over the ``depth - 1`` sites. Norm and ReLU come before a
            convolution here, and a site belongs to the last convolution that runs before it.
        placement: which ReLUs are kept, see ``proprelu.plan_for``; a dense layer is a block.
        num_classes: the length of the output.
        in_channels: the channels of the images.
        growth_rate: the channels that each dense layer adds.

    Returns:
        The network, with random weights.

    Shape:
        (B, in_channels, H, W) -> (B, num_classes), for images of 4 x 4 or more.

    Raises:
        ValueError: ``depth`` is not 6n + 4, or see ``proprelu.plan_for``.

    Example:
        >>> import torch
        >>> densenet(10, "2:1")(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"depth must be 6n + 4, got {depth}; for example 40, 100 or 190")
    return DenseNet((depth - 4) // 6, ratio, placement, num_classes, in_channels, growth_rate)
