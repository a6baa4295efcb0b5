"""Makes up an input that a model accepts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from proprelu.graph import Traced

# Spatial sizes to try, by the number of dimensions.
_SIZES = {1: (64, 256, 1024), 2: (32, 64, 96, 224), 3: (16, 32)}
_BATCH = 2


def as_arguments(example_input: object) -> tuple[Any, ...]:
    """The arguments of the forward that an example stands for."""
    return example_input if isinstance(example_input, tuple) else (example_input,)


def made_up(model: nn.Module, traced: Traced) -> tuple[Any, ...] | None:
    """The arguments of a small call, from the first convolution; None where none is accepted.

    Runs the model, in evaluation mode and without gradients.
    """
    conv = _first_convolution(model, traced)
    if conv is None or len(list(traced.graph.find_nodes(op="placeholder"))) != 1:
        return None
    weight = next(conv.parameters())
    if weight.is_meta:
        return None
    generator = torch.Generator().manual_seed(0)
    for size in _SIZES.get(len(conv.kernel_size), ()):
        shape = (_BATCH, conv.in_channels, *[size] * len(conv.kernel_size))
        x = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        x = x.to(weight.device, weight.dtype)
        if _accepts(model, x):
            return (x,)
    return None


def _accepts(model: nn.Module, x: Tensor) -> bool:
    try:
        with torch.no_grad():
            model(x.clone())
    except Exception:
        return False
    return True


def _first_convolution(model: nn.Module, traced: Traced) -> _ConvNd | None:
    modules = dict(model.named_modules())
    for node in traced.graph.nodes:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, _ConvNd):
            return module
    return None
