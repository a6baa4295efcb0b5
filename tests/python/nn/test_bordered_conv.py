import pytest
import torch
from proprelu.nn import BorderedConv2d, FramedConv2d
from torch import nn
from torch.nn import functional as F


def filled(layer):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer.eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_border_is_subtracted_where_the_kernel_reaches_over_the_padding(bias, groups):
    layer = filled(
        BorderedConv2d(2, 4, 3, stride=2, padding=1, dilation=2, bias=bias, groups=groups)
    ).double()
    x = torch.randn(3, 2, 9, 8, dtype=torch.double)
    where = {"stride": 2, "padding": 1, "dilation": 2}
    everywhere = layer.border.sum((1, 2, 3))[:, None, None]
    inside = F.conv2d(torch.ones(3, 1, 9, 8, dtype=torch.double), layer.border, **where)
    expected = F.conv2d(x, layer.weight, layer.bias, groups=groups, **where)
    expected = expected - (everywhere - inside)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x[0]), expected[0])


def test_a_bordered_convolution_survives_torch_transforms(survives_torch_transforms):
    layer = filled(BorderedConv2d(3, 4, 3, padding=1))
    survives_torch_transforms(layer, torch.randn(2, 3, 6, 7))


def single(*settings):
    layers = []
    channels = 2
    for size, stride, padding in settings:
        layers.append(nn.Conv2d(channels, channels + 1, size, stride, padding))
        channels += 1
    return filled(nn.Sequential(*layers)).double()


def framed(convs, frame):
    """A merged convolution that is wrong everywhere; only the frame is looked at."""
    stride, padding, reach = 1, 0, 0
    for conv in convs:
        padding += stride * conv.padding[0]
        reach += stride * (conv.kernel_size[0] - 1)
        stride *= conv.stride[0]
    merged = nn.Conv2d(convs[0].in_channels, convs[-1].out_channels, reach + 1, stride, padding)
    return FramedConv2d(merged.double(), convs, frame)


CHAINS = [
    [(3, 1, 1), (3, 1, 1)],
    [(3, 2, 1), (3, 1, 1)],
    [(5, 1, 2), (3, 2, 1)],
    [(3, 2, 1), (3, 2, 1), (3, 1, 1)],
    [(3, 1, 0), (5, 1, 2)],
]


@pytest.mark.parametrize("settings", CHAINS, ids=str)
@pytest.mark.parametrize("frame", [(1, 1), (2, 1), (3, 0), (0, 2)], ids=str)
@pytest.mark.parametrize("size", [(9, 8), (33, 30), (21, 48)], ids=str)
def test_the_frame_is_what_the_single_convolutions_compute(settings, frame, size):
    convs = single(*settings)
    x = torch.randn(2, 2, *size, dtype=torch.double)
    with torch.no_grad():
        y, expected = framed(convs, frame)(x), convs(x)
    rows, columns = frame
    inside = torch.zeros_like(y, dtype=torch.bool)
    inside[..., rows : y.shape[2] - rows, columns : y.shape[3] - columns] = True
    torch.testing.assert_close(y[~inside], expected[~inside])
    if size == (33, 30):
        assert not torch.isclose(y[inside], expected[inside]).all()


def test_a_framed_convolution_survives_torch_transforms(survives_torch_transforms):
    convs = single((3, 1, 1), (3, 1, 1)).float()
    survives_torch_transforms(framed(convs, (1, 1)).float(), torch.randn(2, 2, 9, 10))
