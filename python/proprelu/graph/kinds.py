"""Classifies the operations of a graph."""

import operator
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd

from proprelu.graph.activations import Activation, is_maximum, module_activation, read_call
from proprelu.graph.calls import (
    argument,
    aten,
    called_function,
    calls,
    function_inplace,
    function_name,
    in_place_name,
)
from proprelu.graph.decisions import Decision
from proprelu.graph.whole import as_one

_CONVS = {
    F.conv1d, F.conv2d, F.conv3d,
    F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
    torch.convolution, torch._convolution,
} | aten(
    "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution",
)  # fmt: skip
_LINEARS = {
    F.linear, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum, operator.matmul,
} | aten("linear", "matmul", "mm", "bmm", "addmm", "einsum")  # fmt: skip
_LINEAR_MODULES = (nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.RNNBase, nn.Embedding)
_NORM_MODULES = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
_ADDS = {operator.add, operator.iadd, torch.add} | aten("add", "add_")
_AFFINE = {"add", "sub", "mul", "truediv", "div", "iadd", "imul", "add_", "mul_"}
_CATS = {torch.cat, torch.concat, torch.concatenate} | aten("cat")
_GLOBAL_POOLS = {
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d,
} | aten("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")  # fmt: skip
_MEANS = {"mean", torch.mean} | aten("mean")
_ZEROS = {torch.zeros, torch.zeros_like, torch.Tensor.new_zeros} | aten("zeros", "zeros_like")
# Names of functions and methods with a result that is zero where an input is.
_ZERO_KEEPING = {
    "mul", "imul", "mul_", "neg", "clone", "contiguous", "permute", "transpose",
    "reshape", "view", "flatten", "unflatten", "getitem",
}  # fmt: skip
_RESIZING = ("Adaptive", "Upsampl", "Pixel")
# Names of functions and methods with results that share memory with no input.
_FRESH = {
    "add", "sub", "mul", "truediv", "clone", "pow", "neg", "exp", "sigmoid", "softmax", "tanh",
    "mean", "sum", "interpolate", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "pad", "stack", "where", "maximum", "minimum", "abs", "sqrt",
}  # fmt: skip


class Kinds:
    """Classifies nodes by their target, looked up in the model.

    Args:
        model: the module that the graph's targets are attributes of.
        constants: tensors that the trace has set aside, by their name in the graph.
    """

    def __init__(self, model: nn.Module, constants: Mapping[str, Tensor] | None = None) -> None:
        self._constants = constants or {}
        self._modules = dict(model.named_modules(remove_duplicate=False))

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that ``node`` calls, or the forward of which it calls as one operation."""
        if calls(node, (as_one,)):
            of = node.kwargs["of"]
            return self._modules.get(str(of.target)) if isinstance(of, fx.Node) else None
        return self._modules.get(str(node.target)) if node.op == "call_module" else None

    def activation(self, node: fx.Node) -> Activation | None:
        """The activation that ``node`` applies, or applied before it was dropped, else None."""
        if node.op == "call_module":
            found = module_activation(self.module(node))
        else:
            function = called_function(node)
            call = read_call(function, node.args, node.kwargs)
            bare = is_maximum(function) and not self._is_zero(node)
            found = None if call is None or bare else call.activation
        decision = node.meta.get("decision")
        if found is None or not isinstance(decision, Decision):
            return found
        return found._replace(dropped=decision.linear if decision.known else found.dropped)

    def _is_zero(self, node: fx.Node) -> bool:
        """Whether the second argument of a maximum is zero, as far as it can be seen."""
        other = argument(node, 1, "other")
        if not isinstance(other, fx.Node):
            return False
        if other.op == "get_attr":
            value = self._constant(str(other.target))
            if not isinstance(value, Tensor) or isinstance(value, nn.Parameter):
                return False
            return not value.is_meta and value.numel() == 1 and not bool(value.any())
        return called_function(other) in _ZEROS

    def _constant(self, name: str) -> object:
        if name in self._constants:
            return self._constants[name]
        path, _, attribute = name.rpartition(".")
        return getattr(self._modules.get(path), attribute, None)

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
        name = function_name(node.target) if node.op == "call_function" else ""
        if calls(node, _CONVS):
            return not _all_ones(argument(node, 3, "stride") or 1)
        if "_pool" in name:
            stride = argument(node, 2, "stride") or argument(node, 1, "kernel_size")
            return not _all_ones(stride)
        return name in ("interpolate", "upsample", "pixel_shuffle", "pixel_unshuffle")

    def is_conv(self, node: fx.Node) -> bool:
        """Whether ``node`` is a convolution, or stands for one that was removed."""
        conv = isinstance(self.module(node), _ConvNd) or calls(node, _CONVS)
        return conv or self.removed(node) == "convolution"

    def is_linear(self, node: fx.Node) -> bool:
        if node.op == "call_method":
            return node.target in ("matmul", "mm", "bmm")
        linear = isinstance(self.module(node), _LINEAR_MODULES) or calls(node, _LINEARS)
        return linear or self.removed(node) == "linear"

    def is_norm(self, node: fx.Node) -> bool:
        name = function_name(node.target) if node.op == "call_function" else ""
        norm = isinstance(self.module(node), _NORM_MODULES) or name.endswith("_norm")
        return norm or self.removed(node) == "norm"

    def removed(self, node: fx.Node) -> str | None:
        """What kind of layer was removed where ``node`` is, else None."""
        kind: str | None = getattr(self.module(node), "removed_layer", None)
        return kind

    def is_add(self, node: fx.Node) -> bool:
        """Whether ``node`` adds two computed values, rather than a number or a parameter."""
        method = node.op == "call_method" and node.target in ("add", "add_")
        operands = [arg for arg in node.args if isinstance(arg, fx.Node) and arg.op != "get_attr"]
        return (method or calls(node, _ADDS)) and len(operands) == 2

    def scaled(self, node: fx.Node) -> fx.Node | None:
        """The value that ``node`` scales or shifts by a constant, as frozen norms do; else None."""
        if node.op not in ("call_function", "call_method"):
            return None
        computed = [each for each in node.all_input_nodes if each.op != "get_attr"]
        affine = function_name(called_function(node)) in _AFFINE
        return computed[0] if affine and len(computed) == 1 else None

    def is_cat(self, node: fx.Node) -> bool:
        return calls(node, _CATS)

    def is_global_pool(self, node: fx.Node) -> bool:
        """Whether ``node`` averages the whole image, so that a 1x1 convolution of it is linear."""
        module = self.module(node)
        if isinstance(module, _AdaptiveAvgPoolNd):
            return _all_ones(module.output_size)
        if calls(node, _GLOBAL_POOLS):
            return _all_ones(argument(node, 1, "output_size"))
        if node.op != "call_module" and node.target in _MEANS:
            dims = argument(node, 1, "dim")
            return isinstance(dims, (list, tuple)) and len(dims) >= 2
        return False

    def keeps_zero(self, node: fx.Node) -> bool:
        """Whether the result of ``node`` is zero where an input is, whatever the others are."""
        called = node.op in ("call_function", "call_method")
        name = function_name(called_function(node)) if called else ""
        return name in _ZERO_KEEPING or self.activation(node) is not None

    def is_pointwise_conv(self, node: fx.Node) -> bool:
        """Whether ``node`` is a convolution module with a 1x1 kernel."""
        module = self.module(node)
        return isinstance(module, _ConvNd) and _all_ones(module.kernel_size)

    def makes_fresh(self, node: fx.Node) -> bool:
        """Whether the result is known to share memory with none of the inputs."""
        if self.writes_to(node) is not None:
            return False
        if self.is_conv(node) or self.is_linear(node) or self.is_norm(node) or self.is_cat(node):
            return True
        module = self.module(node)
        if module is not None:
            pool = type(module).__module__ == "torch.nn.modules.pooling"
            return pool or module_activation(module) is not None
        called = node.op in ("call_function", "call_method")
        return called and (
            function_name(called_function(node)) in _FRESH or self.activation(node) is not None
        )

    def writes_to(self, node: fx.Node) -> fx.Node | None:
        """The input that ``node`` overwrites, else None."""
        out = node.kwargs.get("out")
        if isinstance(out, fx.Node):
            return out
        if node.op == "call_module":
            inplace = getattr(self.module(node), "inplace", False) is True
        elif node.op == "call_method":
            inplace = in_place_name(str(node.target)) or node.kwargs.get("inplace") is True
        elif node.op == "call_function":
            inplace = function_inplace(node)
        else:
            return None
        inputs = node.all_input_nodes
        return inputs[0] if inplace and inputs else None


def _all_ones(size: object) -> bool:
    return size == 1 or (isinstance(size, (list, tuple)) and all(n == 1 for n in size))
