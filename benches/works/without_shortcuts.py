"""A deep network without shortcuts, for small images."""

from __future__ import annotations

from torch import nn


def plain(depth: int, in_channels: int = 1, width: int = 16, num_classes: int = 10) -> nn.Module:
    """The convolutions of a ResNet for small images, without its shortcuts.

    Args:
        depth: 6n + 2: three stages of 2n convolutions, one before, and a linear layer.
        in_channels: channels of the images.
        width: channels of the first stage.
        num_classes: classes.
    """
    count = (depth - 2) // 3
    layers: list[nn.Module] = [*_layer(in_channels, width, 1)]
    channels = width
    for stage in range(3):
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            layers += _layer(channels, width * 2**stage, stride)
            channels = width * 2**stage
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
    )


def _layer(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
