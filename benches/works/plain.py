"""The layers of `works/layers.py`: proprelu's, and plain PyTorch's with the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from proprelu import functional
from proprelu.nn import TiedBlockConv2d, TiedSqueezeExcite
from torch import Tensor, nn
from torch.nn import functional as F

from works.steps import Work

_NUM_ITERS = 5


@dataclass(frozen=True)
class Layer:
    """Two ways to compute one layer.

    Attributes:
        macs: multiply-adds of a forward, as the plain way computes it.
        module: holds the parameters, if there are any.
    """

    ours: Callable[[Tensor], Tensor]
    plain: Callable[[Tensor], Tensor]
    macs: float
    module: nn.Module | None = None


def make_layer(work: Work) -> Layer:
    """The layer of a work, with new parameters."""
    pixels = work.batch * work.size**2
    if work.name.startswith("tied_conv_b"):
        blocks = int(work.name.removeprefix("tied_conv_b"))
        channels = work.channels
        conv = TiedBlockConv2d(channels, channels, 3, padding=1, bias=False, num_blocks=blocks)
        return Layer(conv, lambda x: tied_conv(conv, x), pixels * 9 * channels**2 / blocks, conv)
    if work.name == "tied_squeeze_excite":
        gate = TiedSqueezeExcite(work.channels, num_blocks=8)
        macs = 2.0 * work.batch * work.channels * 16
        return Layer(gate, lambda x: tied_squeeze_excite(gate, x), macs, gate)
    # One product for A T, two for the last update, three for each of the others.
    products = 3 * _NUM_ITERS - 3
    return Layer(
        lambda x: functional.covariance_pool(x, _NUM_ITERS),
        lambda x: covariance_pool(x, _NUM_ITERS),
        work.channels**2 * float(pixels + work.batch * products * work.channels),
    )


def tied_conv(layer: TiedBlockConv2d, x: Tensor) -> Tensor:
    """A convolution of each block of channels as an image of its own."""
    n, c, h, w = x.shape
    blocks = layer.num_blocks
    y = F.conv2d(
        x.reshape(n * blocks, c // blocks, h, w), layer.weight, layer.bias, padding=layer.padding
    )
    return y.reshape(n, -1, *y.shape[2:])


def tied_squeeze_excite(layer: TiedSqueezeExcite, x: Tensor) -> Tensor:
    """Global pooling, two linear layers that all blocks share, and a sigmoid."""
    n, c = x.shape[:2]
    squeezed = F.adaptive_avg_pool2d(x, 1).reshape(n * layer.num_blocks, c // layer.num_blocks)
    hidden = F.relu(F.linear(squeezed, layer.reduce.weight, layer.reduce.bias))
    gates = torch.sigmoid(F.linear(hidden, layer.expand.weight, layer.expand.bias))
    return x * gates.reshape(n, c, 1, 1)


def covariance_pool(x: Tensor, num_iters: int) -> Tensor:
    """Covariance and Newton-Schulz's iterations, differentiated by autograd, in float32."""
    with torch.autocast(x.device.type, enabled=False):
        x = x.float().flatten(2)
        d, pixels = x.shape[1:]
        x = x - x.mean(2, keepdim=True)
        s = x.bmm(x.transpose(1, 2)) / pixels
        trace = s.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        a, identity3 = s / trace, 3 * torch.eye(d, dtype=x.dtype, device=x.device)
        t = 0.5 * (identity3 - a)
        y, z = a.bmm(t), t
        for _ in range(num_iters - 2):
            t = 0.5 * (identity3 - z.bmm(y))
            y, z = y.bmm(t), t.bmm(z)
        if num_iters > 1:
            y = 0.5 * y.bmm(identity3 - z.bmm(y))
        rows, columns = torch.triu_indices(d, d, device=x.device)
        return (y * trace.sqrt())[:, rows, columns]
