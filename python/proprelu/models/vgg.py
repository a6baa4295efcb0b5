"""VGG for small images, with batch norm.

Reference:
    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    arXiv 1409.1556, configurations A, B, D and E; batch norm after each convolution and one linear
    layer on the global average instead of three, as usual for small images.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from proprelu._core import Ratio
from proprelu.nn import relus

# The number of convolutions in each of the five stages, by depth.
_STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each with a pooling, then a linear layer.

    Args:
        stages: the number of convolutions in each stage.

    The other arguments are those of ``vgg``.
    """

    def __init__(
        self,
        stages: Sequence[int],
        ratio: str | tuple[int, int] | Ratio,
        placement: str | Sequence[bool],
        num_classes: int,
        in_channels: int,
        width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        acts = iter(relus(sum(stages), ratio, placement))
        layers: list[nn.Module] = []
        channels = in_channels
        for stage, convs in enumerate(stages):
            out_channels = width * min(2**stage, 8)
            for _ in range(convs):
                layers += [
                    nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(out_channels),
                    next(acts),
                ]
                channels = out_channels
            # Sizes are rounded up, so that 28 x 28 is large enough for five poolings.
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x)).flatten(1)
        result: Tensor = self.fc(self.dropout(x))
        return result


def vgg(
    depth: int = 16,
    ratio: str | tuple[int, int] | Ratio = "1:1",
    placement: str | Sequence[bool] = "last",
    num_classes: int = 10,
    in_channels: int = 3,
    width: int = 64,
    dropout: float = 0.5,
) -> VGG:
    """Build a VGG for small images.

    Args:
        depth: 11, 13, 16 or 19, which counts the three linear layers of the original network.
        ratio: convolutions to ReLUs, over the ``depth - 3`` convolutions.
        placement: which ReLUs are kept, see ``proprelu.plan_for``.
        num_classes: the length of the output.
        in_channels: the channels of the images.
        width: the channels of the first stage.
        dropout: the probability of dropout before the linear layer.

    Returns:
        The network, with random weights.

    Shape:
        (B, in_channels, H, W) -> (B, num_classes).

    Raises:
        ValueError: ``depth`` has no configuration, or see ``proprelu.plan_for``.

    Example:
        >>> import torch
        >>> vgg(11, "2:1", width=8).eval()(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    if depth not in _STAGES:
        raise ValueError(f"depth must be 11, 13, 16 or 19, got {depth}")
    return VGG(_STAGES[depth], ratio, placement, num_classes, in_channels, width, dropout)
