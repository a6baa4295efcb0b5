"""The memory layout of images and convolution weights: NHWC, with the channels innermost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def to_channels_last(tensor: Tensor) -> Tensor:
    """A copy of an (N, C, ...) tensor with the channels innermost in memory.

    Unlike torch's own conversion it also sets the stride of a channel axis of size 1, from which
    torch's convolutions derive their layout.
    """
    source = tensor.movedim(1, -1)
    memory = torch.empty(source.shape, dtype=tensor.dtype, device=tensor.device)
    return memory.copy_(source).movedim(-1, 1)


def lay_out(model: nn.Module) -> list[nn.Parameter]:
    """Change the layout of 4-D and 5-D parameters to NHWC.

    The parameters stay the same objects; only the order of their memory changes, so that the
    convolutions need no copies.

    Returns:
        The changed parameters.
    """
    changed = [p for p in model.parameters() if p.dim() in (4, 5) and p.is_contiguous()]
    for parameter in changed:
        parameter.data = to_channels_last(parameter.data)
    return changed


@contextlib.contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Lay out 4-D and 5-D parameters as NHWC inside the context; restore the layout afterwards."""
    changed = lay_out(model)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
