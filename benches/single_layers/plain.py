"""The layers as one would write them in plain PyTorch, with the parameters of ours."""

from __future__ import annotations

import torch
from proprelu.nn import TiedBlockConv2d, TiedSqueezeExcite
from torch import Tensor
from torch.nn import functional as F


def tied_conv(layer: TiedBlockConv2d, x: Tensor) -> Tensor:
    """Blocks of channels become images of their own."""
    n, c, h, w = x.shape
    blocks = layer.num_blocks
    y = F.conv2d(
        x.reshape(n * blocks, c // blocks, h, w), layer.weight, layer.bias, padding=layer.padding
    )
    return y.reshape(n, -1, *y.shape[2:])


def tied_squeeze_excite(layer: TiedSqueezeExcite, x: Tensor) -> Tensor:
    """Global pooling, two linear layers that all blocks share, a sigmoid."""
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
