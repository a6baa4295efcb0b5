"""ResNet for small images.

Reference:
    He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2; with
    projection shortcuts (option B).
"""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from proprelu._core import Ratio
from proprelu.nn import relus


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, relus: Iterator[nn.Module]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = next(relus)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.relu2 = next(relus)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        result: Tensor = self.relu2(out)
        return result


class ResNet(nn.Module):
    """A 3x3 stem, three stages of ``blocks`` basic blocks, global average, linear.

    Args:
        blocks: the blocks of each stage; the depth is ``6 * blocks + 2``.

    The other arguments are those of ``resnet``.
    """

    def __init__(
        self,
        blocks: int,
        ratio: str | tuple[int, int] | Ratio,
        placement: str | Sequence[bool],
        num_classes: int,
        in_channels: int,
        width: int,
    ) -> None:
        super().__init__()
        sites = [None, *(i // 2 for i in range(6 * blocks))]
        acts = iter(relus(sites, ratio, placement))
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = next(acts)
        self.layer1 = _stage(width, width, 1, blocks, acts)
        self.layer2 = _stage(width, 2 * width, 2, blocks, acts)
        self.layer3 = _stage(2 * width, 4 * width, 2, blocks, acts)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        result: Tensor = self.fc(self.avgpool(x).flatten(1))
        return result


def _stage(
    in_channels: int, out_channels: int, stride: int, blocks: int, acts: Iterator[nn.Module]
) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride, acts)
    rest = (BasicBlock(out_channels, out_channels, 1, acts) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def resnet(
    depth: int = 20,
    ratio: str | tuple[int, int] | Ratio = "1:1",
    placement: str | Sequence[bool] = "last",
    num_classes: int = 10,
    in_channels: int = 3,
    width: int = 16,
) -> ResNet:
    """Build a ResNet for small images.

    Args:
        depth: 6n + 2: 20, 32, 44, 56, 110, ...
        ratio: convolutions to ReLUs, over the ``depth - 1`` sites; shortcuts do not count.
        placement: which ReLUs are kept, see ``proprelu.plan_for``.
        num_classes: the length of the output.
        in_channels: the channels of the images.
        width: the channels of the first stage; the others have 2 and 4 times as many.

    Returns:
        The network, with random weights.

    Shape:
        (B, in_channels, H, W) -> (B, num_classes), for images of 4 x 4 or more.

    Raises:
        ValueError: ``depth`` is not 6n + 2, or see ``proprelu.plan_for``.

    Example:
        >>> import torch
        >>> resnet(20, "2:1", in_channels=1)(torch.randn(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth must be 6n + 2, got {depth}; for example 20, 32, 56 or 110")
    return ResNet((depth - 2) // 6, ratio, placement, num_classes, in_channels, width)
