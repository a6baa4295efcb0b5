"""Reads the convolutions and batch norms of a graph; or says why one cannot be merged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from proprelu._core import ConvGeometry, Convolution
from proprelu.graph.calls import called_function
from proprelu.nn import TiedBlockConv2d
from proprelu.nn.as_convolution import (
    convolution_of,
    geometry_of,
    norm_as_convolution,
    padding_of,
)

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
_NORM_ARGUMENTS = (
    "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Layer:
    """One linear layer of a graph.

    Attributes:
        node: its node.
        name: its path in the model.
        geometry: as a convolution.
        is_norm: whether it is a batch norm.
        weights: reads its numbers.
    """

    node: fx.Node
    name: str
    geometry: ConvGeometry
    is_norm: bool
    weights: Callable[[], Convolution]

    @property
    def input(self) -> fx.Node:
        """The value that it is applied to."""
        return self.node.all_input_nodes[0]


def read_layer(net: fx.GraphModule, node: fx.Node) -> Layer | str | None:
    """Read a node.

    Args:
        net: a model in evaluation mode.
        node: one of its operations.

    Returns:
        The layer; the reason why it cannot be merged; or None for what is no convolution or norm.
    """
    if node.op == "call_function" and called_function(node) in (F.batch_norm, torch.batch_norm):
        return _functional_norm(net, node)
    if node.op != "call_module":
        return None
    module = net.get_submodule(str(node.target))
    if not isinstance(module, (_ConvNd, _NormBase)):
        return None
    plain = len(node.args) == 1 and not node.kwargs and len(node.meta.get("shape", ())) == 4
    reason = _refusal(module) if plain else "its input is no batch of images"
    if reason is not None:
        return reason
    if isinstance(module, nn.Conv2d):
        numbers = partial(convolution_of, module)
        return Layer(node, str(node.target), geometry_of(module), False, numbers)
    assert isinstance(module, _NormBase)
    values = (module.running_mean, module.running_var, module.weight, module.bias, module.eps)
    return _norm(node, str(node.target), *values)


def _refusal(module: nn.Module) -> str | None:
    """Why a convolution or batch norm cannot be merged."""
    kind = type(module)
    if parametrize.is_parametrized(module):
        return "its weight is parametrized"
    if kind.__module__.startswith("torch.ao."):
        return "it is quantized"
    if module._forward_hooks or module._forward_pre_hooks:
        return "it has hooks"
    if kind in _NORMS:
        return _norm_refusal(module)
    if kind not in (nn.Conv2d, TiedBlockConv2d):
        return f"a {kind.__name__} is not merged"
    assert isinstance(module, nn.Conv2d)
    if module.padding_mode != "zeros":
        return f"its padding is {module.padding_mode}"
    if padding_of(module) is None:
        return "its padding differs from side to side"
    if not module.weight.is_floating_point() or type(module.weight) is not nn.Parameter:
        return f"its weight is a {type(module.weight).__name__} of {module.weight.dtype}"
    return None


def _norm_refusal(module: Any) -> str | None:
    if module.training:
        return "it is in training mode"
    return "it has no running statistics" if module.running_mean is None else None


def _functional_norm(net: fx.GraphModule, node: fx.Node) -> Layer | str | None:
    given = {**dict(zip(_NORM_ARGUMENTS, node.args, strict=False)), **node.kwargs}
    if not isinstance(given.get("input"), fx.Node) or len(node.meta.get("shape", ())) != 4:
        return "its input is no batch of images"
    if given.get("training", False) is not False:
        return "it is in training mode"
    values = {name: _value(net, given.get(name)) for name in _NORM_ARGUMENTS[1:5]}
    if not isinstance(values["running_mean"], Tensor) or any(
        value is not None and not isinstance(value, Tensor) for value in values.values()
    ):
        return "it has no running statistics"
    eps = given.get("eps", 1e-5)
    if not isinstance(eps, float):
        return "its eps is computed"
    mean, var, weight, bias = values.values()
    name = str(node.meta.get("scope") or node.name)
    return _norm(node, name, mean, var, weight, bias, eps)


def _value(net: fx.GraphModule, node: Any) -> Any:
    """The tensor of an attribute; None for none."""
    if not isinstance(node, fx.Node):
        return node
    if node.op != "get_attr":
        return node
    path, _, name = str(node.target).rpartition(".")
    return getattr(net.get_submodule(path), name)


def _norm(
    node: fx.Node, name: str, mean: Any, var: Any, weight: Any, bias: Any, eps: float
) -> Layer:
    geometry = ConvGeometry.pointwise(len(mean), True)
    numbers = partial(norm_as_convolution, mean, var, weight, bias, eps)
    return Layer(node, name, geometry, True, numbers)
