"""What kind of operation a graph node is."""

import inspect
import operator
from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd

from proprelu.graph.dropped import dropped


class Activation(NamedTuple):
    """A rectifier: ``kind`` is ``"relu"`` or ``"relu6"``."""

    kind: str
    inplace: bool
    dropped: bool = False


_CONVS = {
    F.conv1d, F.conv2d, F.conv3d,
    F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
}  # fmt: skip
_LINEARS = {F.linear, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum, operator.matmul}
_LINEAR_MODULES = (nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.RNNBase, nn.Embedding)
_NORM_MODULES = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
_ADDS = {operator.add, operator.iadd, torch.add}
_CATS = {torch.cat, torch.concat, torch.concatenate}
_FRESH = {operator.add, operator.sub, operator.mul, operator.truediv, torch.add, torch.clone}


class Kinds:
    """Answers by looking a node's target up in the model.

    Args:
        model: the module that the graph's targets are attributes of.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules(remove_duplicate=False))

    def module(self, node: fx.Node) -> nn.Module | None:
        return self._modules.get(str(node.target)) if node.op == "call_module" else None

    def activation(self, node: fx.Node) -> Activation | None:
        """The rectifier that ``node`` applies or once applied, else None."""
        if node.op == "call_module":
            return _module_activation(self.module(node))
        if node.op == "call_method" and node.target in ("relu", "relu_"):
            return Activation("relu", node.target == "relu_")
        if node.op == "call_function":
            return _function_activation(node)
        return None

    def is_conv(self, node: fx.Node) -> bool:
        return isinstance(self.module(node), _ConvNd) or _calls(node, _CONVS)

    def is_linear(self, node: fx.Node) -> bool:
        if node.op == "call_method":
            return node.target in ("matmul", "mm", "bmm")
        return isinstance(self.module(node), _LINEAR_MODULES) or _calls(node, _LINEARS)

    def is_norm(self, node: fx.Node) -> bool:
        name = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
        return isinstance(self.module(node), _NORM_MODULES) or name.endswith("_norm")

    def is_add(self, node: fx.Node) -> bool:
        """A sum of two computed values; adding a number or a parameter is none."""
        method = node.op == "call_method" and node.target in ("add", "add_")
        operands = [arg for arg in node.args if isinstance(arg, fx.Node) and arg.op != "get_attr"]
        return (method or _calls(node, _ADDS)) and len(operands) == 2

    def is_cat(self, node: fx.Node) -> bool:
        return _calls(node, _CATS)

    def is_global_pool(self, node: fx.Node) -> bool:
        """Averages the whole picture, so that a 1x1 convolution after it is a linear layer."""
        module = self.module(node)
        if isinstance(module, _AdaptiveAvgPoolNd):
            return _all_ones(module.output_size)
        if _calls(node, {F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d}):
            return _all_ones(_argument(node, 1, "output_size"))
        if node.target in ("mean", torch.mean):
            dims = _argument(node, 1, "dim")
            return isinstance(dims, (list, tuple)) and len(dims) >= 2
        return False

    def is_pointwise_conv(self, node: fx.Node) -> bool:
        """A convolution module with a 1x1 kernel."""
        module = self.module(node)
        return isinstance(module, _ConvNd) and _all_ones(module.kernel_size)

    def makes_fresh(self, node: fx.Node) -> bool:
        """Its result shares memory with none of its inputs (False where that is not known)."""
        fresh = self.is_conv(node) or self.is_linear(node) or self.is_norm(node)
        fresh = fresh or self.is_cat(node) or _calls(node, _FRESH)
        activation = self.activation(node)
        if activation is not None:
            return not (activation.inplace or activation.dropped)
        return fresh

    def writes_to(self, node: fx.Node) -> fx.Node | None:
        """The input that ``node`` overwrites, else None."""
        if node.op == "call_module":
            inplace = getattr(self.module(node), "inplace", False) is True
        elif node.op == "call_method":
            inplace = _in_place_name(str(node.target))
        elif node.op == "call_function":
            inplace = _function_inplace(node)
        else:
            return None
        inputs = node.all_input_nodes
        return inputs[0] if inplace and inputs else None


def _module_activation(module: nn.Module | None) -> Activation | None:
    stood_here = getattr(module, "dropped_activation", None)
    if isinstance(stood_here, str):
        return Activation(stood_here.rstrip("_"), stood_here.endswith("_"), dropped=True)
    if isinstance(module, nn.ReLU):
        return Activation("relu", module.inplace)
    if isinstance(module, nn.Hardtanh) and (module.min_val, module.max_val) == (0, 6):
        return Activation("relu6", module.inplace)
    return None


def _function_activation(node: fx.Node) -> Activation | None:
    if node.target is dropped:
        stood_here = str(_argument(node, 1, "activation"))
        return Activation(stood_here.rstrip("_"), stood_here.endswith("_"), dropped=True)
    if _calls(node, {F.relu, torch.relu, torch.relu_}):
        return Activation("relu", _function_inplace(node))
    if node.target is F.relu6:
        return Activation("relu6", _function_inplace(node))
    if _calls(node, {F.hardtanh, F.hardtanh_}):
        bounds = _argument(node, 1, "min_val"), _argument(node, 2, "max_val")
        return Activation("relu6", _function_inplace(node)) if bounds == (0, 6) else None
    return None


def _calls(node: fx.Node, functions: Collection[object]) -> bool:
    return node.op == "call_function" and node.target in functions


def _argument(node: fx.Node, position: int, name: str) -> object:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name)


def _all_ones(size: object) -> bool:
    return size == 1 or (isinstance(size, (list, tuple)) and all(n == 1 for n in size))


def _in_place_name(name: str) -> bool:
    return (name.endswith("_") and not name.endswith("__")) or name == "__setitem__"


def _function_inplace(node: fx.Node) -> bool:
    function = node.target
    name = getattr(function, "__name__", "")
    if getattr(function, "__module__", "") == "_operator":
        return name in ("setitem",) or (name.startswith("i") and hasattr(operator, f"__{name}__"))
    if _in_place_name(name):
        return True
    try:  # the flag may come by position
        bound = inspect.signature(function).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return bound.arguments.get("inplace") is True
