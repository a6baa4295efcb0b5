"""Convolution weights with the channel innermost, for the time of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@contextlib.contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Lay out 4-D and 5-D parameters as NHWC inside, and as they were behind.

    The parameters stay the same objects; only the order of their memory changes, so that the
    convolutions need no copies.
    """
    formats = {}
    for parameter in model.parameters():
        if parameter.dim() in _FORMATS and parameter.is_contiguous():
            formats[parameter] = torch.contiguous_format
            parameter.data = parameter.data.contiguous(memory_format=_FORMATS[parameter.dim()])
    try:
        yield
    finally:
        for parameter, memory_format in formats.items():
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
