"""The memory layout of images and convolution weights: NHWC, with the channels innermost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def to_channels_last(tensor: Tensor) -> Tensor:
    """An (N, C, ...) tensor with the channels innermost in memory: a copy, if that is not the case.

    Unlike torch's own conversion it also sets the stride of a channel axis of size 1, from which
    torch's convolutions derive their layout.
    """
    source = tensor.movedim(1, -1)
    if source.is_contiguous():
        # The strides of axes of size 1 are arbitrary.
        return source.as_strided(source.shape, _strides(source.shape)).movedim(-1, 1)
    memory = torch.empty(source.shape, dtype=tensor.dtype, device=tensor.device)
    return memory.copy_(source).movedim(-1, 1)


def lay_out(*modules: nn.Module) -> None:
    """Give parameters the memory that a training needs: weights of convolutions NHWC, no gaps.

    The parameters stay the same objects.
    """
    for module in modules:
        weights = _weights(module)
        for parameter in module.parameters():
            own = parameter.data
            if id(parameter) in weights and own.dim() in (4, 5) and own.is_contiguous():
                parameter.data = to_channels_last(own)
            elif not _is_dense(own):
                parameter.data = own.contiguous()


def _weights(model: nn.Module) -> set[int]:
    """The ids of the parameters of modules with a ``kernel_size``, and of their parametrizations.

    Others keep their layout, because a forward may depend on it, as ``view_as_complex`` does.
    """
    found: set[int] = set()
    for module in model.modules():
        if hasattr(module, "kernel_size"):
            parametrized = module._modules.get("parametrizations")
            of_parametrizations = parametrized.parameters() if parametrized is not None else ()
            own = (*module._parameters.values(), *of_parametrizations)
            found |= {id(parameter) for parameter in own}
    return found


@contextlib.contextmanager
def channels_last(*modules: nn.Module) -> Iterator[None]:
    """Lay out parameters for a training inside the context.

    Afterwards each has its former memory again, with the new values: whatever shares this memory,
    such as views, other processes and flat buffers, sees them.
    """
    before = [(p, p.data) for module in modules for p in module.parameters()]
    try:
        lay_out(*modules)
        yield
    finally:
        for parameter, own in before:
            values = parameter.data
            if (values.shape, values.device, values.dtype) != (own.shape, own.device, own.dtype):
                continue  # replaced by the caller
            if values.data_ptr() != own.data_ptr():
                own.copy_(values)
            if values.stride() != own.stride() or values.data_ptr() != own.data_ptr():
                parameter.data = own


def _strides(shape: torch.Size) -> list[int]:
    strides, stride = [], 1
    for size in reversed(shape):
        strides.append(stride)
        stride *= size
    return strides[::-1]


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill their memory without gaps or overlaps, in any order of axes."""
    expected = 1
    axes = zip(tensor.stride(), tensor.shape, strict=True)
    for stride, size in sorted((stride, size) for stride, size in axes if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True
