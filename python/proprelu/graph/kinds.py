"""Classifies the operations of a graph."""

import operator

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd

from proprelu.graph.activations import (
    Activation,
    dropped_activation,
    function_activation,
    method_activation,
    module_activation,
)
from proprelu.graph.calls import argument, calls, function_inplace, in_place_name
from proprelu.graph.dropped import dropped
from proprelu.graph.sloped import sloped

_CONVS = {
    F.conv1d, F.conv2d, F.conv3d,
    F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
}  # fmt: skip
_LINEARS = {F.linear, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum, operator.matmul}
_LINEAR_MODULES = (nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.RNNBase, nn.Embedding)
_NORM_MODULES = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
_ADDS = {operator.add, operator.iadd, torch.add}
_CATS = {torch.cat, torch.concat, torch.concatenate}
_MARKS = {dropped, sloped}
_RESIZING = ("Adaptive", "Upsampl", "Pixel")
_FRESH = {operator.add, operator.sub, operator.mul, operator.truediv, torch.add, torch.clone}


class Kinds:
    """Classifies nodes by their target, looked up in the model.

    Args:
        model: the module that the graph's targets are attributes of.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules(remove_duplicate=False))

    def module(self, node: fx.Node) -> nn.Module | None:
        return self._modules.get(str(node.target)) if node.op == "call_module" else None

    def activation(self, node: fx.Node) -> Activation | None:
        """The activation that ``node`` applies, or applied before it was dropped, else None."""
        if node.op == "call_module":
            return module_activation(self.module(node))
        if node.op == "call_method":
            return method_activation(str(node.target))
        if self.is_mark(node):
            return dropped_activation(str(argument(node, 1, "activation")))
        return function_activation(node) if node.op == "call_function" else None

    @staticmethod
    def is_mark(node: fx.Node) -> bool:
        """Whether ``node`` replaces an activation that a conversion removed."""
        return calls(node, _MARKS)

    def is_hard_sigmoid(self, node: fx.Node) -> bool:
        """Whether ``node`` is ``relu6(x + 3)``, which computes the value of a gate."""
        activation, source = self.activation(node), node.all_input_nodes[0]
        adds = calls(source, _ADDS) or (source.op == "call_method" and source.target == "add")
        return activation is not None and activation.kind == "relu6" and adds and 3 in source.args

    def changes_size(self, node: fx.Node) -> bool:
        """Whether ``node`` changes the resolution: by a stride, pooling or upsampling."""
        module = self.module(node)
        if module is not None:
            kind = type(module).__name__
            strided = isinstance(module, _ConvNd) or "Pool" in kind
            stride = getattr(module, "stride", 1)
            return kind.startswith(_RESIZING) or (strided and not _all_ones(stride))
        name = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
        if calls(node, _CONVS):
            return not _all_ones(argument(node, 3, "stride") or 1)
        if "_pool" in name:
            stride = argument(node, 2, "stride") or argument(node, 1, "kernel_size")
            return not _all_ones(stride)
        return name in ("interpolate", "upsample", "pixel_shuffle", "pixel_unshuffle")

    def is_conv(self, node: fx.Node) -> bool:
        return isinstance(self.module(node), _ConvNd) or calls(node, _CONVS)

    def is_linear(self, node: fx.Node) -> bool:
        if node.op == "call_method":
            return node.target in ("matmul", "mm", "bmm")
        return isinstance(self.module(node), _LINEAR_MODULES) or calls(node, _LINEARS)

    def is_norm(self, node: fx.Node) -> bool:
        name = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
        return isinstance(self.module(node), _NORM_MODULES) or name.endswith("_norm")

    def is_add(self, node: fx.Node) -> bool:
        """Whether ``node`` adds two computed values, rather than a number or a parameter."""
        method = node.op == "call_method" and node.target in ("add", "add_")
        operands = [arg for arg in node.args if isinstance(arg, fx.Node) and arg.op != "get_attr"]
        return (method or calls(node, _ADDS)) and len(operands) == 2

    def is_cat(self, node: fx.Node) -> bool:
        return calls(node, _CATS)

    def is_global_pool(self, node: fx.Node) -> bool:
        """Whether ``node`` averages the whole image, so that a 1x1 convolution of it is linear."""
        module = self.module(node)
        if isinstance(module, _AdaptiveAvgPoolNd):
            return _all_ones(module.output_size)
        if calls(node, {F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d}):
            return _all_ones(argument(node, 1, "output_size"))
        if node.target in ("mean", torch.mean):
            dims = argument(node, 1, "dim")
            return isinstance(dims, (list, tuple)) and len(dims) >= 2
        return False

    def is_pointwise_conv(self, node: fx.Node) -> bool:
        """Whether ``node`` is a convolution module with a 1x1 kernel."""
        module = self.module(node)
        return isinstance(module, _ConvNd) and _all_ones(module.kernel_size)

    def makes_fresh(self, node: fx.Node) -> bool:
        """Whether the result is known to share memory with none of the inputs."""
        fresh = self.is_conv(node) or self.is_linear(node) or self.is_norm(node)
        fresh = fresh or self.is_cat(node) or calls(node, _FRESH)
        activation = self.activation(node)
        if activation is not None:
            return node.target is sloped or not (activation.inplace or activation.dropped)
        return fresh

    def writes_to(self, node: fx.Node) -> fx.Node | None:
        """The input that ``node`` overwrites, else None."""
        if node.op == "call_module":
            inplace = getattr(self.module(node), "inplace", False) is True
        elif node.op == "call_method":
            inplace = in_place_name(str(node.target))
        elif node.op == "call_function":
            inplace = function_inplace(node)
        else:
            return None
        inputs = node.all_input_nodes
        return inputs[0] if inplace and inputs else None


def _all_ones(size: object) -> bool:
    return size == 1 or (isinstance(size, (list, tuple)) and all(n == 1 for n in size))
