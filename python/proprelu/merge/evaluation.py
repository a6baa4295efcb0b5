"""A model in evaluation mode as a graph of its operations that runs."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from proprelu.graph import FUNCTIONS, Blend, Drop, Traced, copied, remove, trace
from proprelu.graph.activations import read_call
from proprelu.graph.calls import argument, called_function, function_name
from proprelu.graph.kinds import Kinds
from proprelu.graph.mode import kept_values, quiet
from proprelu.graph.script import FIXED, SCRIPT, scripted
from proprelu.merge.refusals import check_example
from proprelu.merge.removed import cut_removed, replace_node

# What returns its input in evaluation mode.
_IDENTITIES = (nn.Identity, nn.modules.dropout._DropoutNd)
_DROPOUTS = {
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
}  # fmt: skip
_STOCHASTIC = ("stochastic_depth", "drop_path")


def evaluation_graph(
    model: nn.Module,
    example_input: object,
    prepare: Callable[[Traced], None] = lambda traced: None,
) -> fx.GraphModule:
    """Copy a model as the graph of its forward in evaluation mode.

    Nothing is left of what has no effect there: dropped activations, identities and dropout, and
    what stands for removed layers.

    Args:
        model: a model in evaluation mode; it is not changed.
        example_input: a tensor, or a tuple of the forward's arguments.
        prepare: may change what the trace of the model says about its activations. Those that it
            drops are as those of a converted model; their numbers, ``node.meta["site"]``, are
            collected at the values that they were applied to, as ``node.meta["sites"]``.

    Returns:
        The graph, with the shape that each value has for the example as ``node.meta["shape"]``.

    Raises:
        ValueError: the model cannot be traced or is still being annealed, or the example is empty.
    """
    check_example(example_input)
    traced = trace(model, example_input)
    prepare(traced)
    own = copied(model)
    remove(own)
    for name, value in traced.constants.items():
        own.__dict__[name] = value.detach().clone()
    graph = fx.Graph()
    result = graph.graph_copy(traced.graph, {})
    graph.output(result)
    _call_scripts(graph)
    _drop(Traced(own, graph, constants=traced.constants))
    cut_removed(Kinds(own, traced.constants), graph)
    try:
        net = fx.GraphModule(own, graph, type(model).__name__)
    except RuntimeError as error:
        raise ValueError(
            f"cannot merge {type(model).__name__}: its forward uses an object that is no part of "
            f"it ({str(error).rstrip('.')}); make it an attribute of the model"
        ) from error
    kinds = Kinds(net)
    # torch.fx itself takes a method that writes into its input for one without an effect.
    net.graph.eliminate_dead_code(lambda n: n.is_impure() or kinds.writes_to(n) is not None)
    net.delete_all_unused_submodules()
    net.recompile()
    for module in net.modules():
        if type(module) is nn.Module or module is net:  # made by torch.fx; others keep their mode
            module.training = False
    _note_shapes(net, example_input)
    return net


def _call_scripts(graph: fx.Graph) -> None:
    """Leave calls of what ``torch.jit`` has compiled in place of the operations read from it."""
    calls: dict[str, fx.Node] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = node
        elif node.target is scripted:
            node.replace_all_uses_with(calls[node.meta["scope"]])
    for node in reversed(list(graph.nodes)):
        if node.target is scripted or node.meta.get(FIXED) == SCRIPT:
            graph.erase_node(node)


def _drop(traced: Traced) -> None:
    """Remove from a graph what returns its input."""
    kinds, graph = Kinds(traced.model, traced.constants), traced.graph
    for node in list(graph.nodes):
        if node.op == "get_attr" and str(node.target).rpartition(".")[2] == "training":
            path = str(node.target).rpartition(".")[0]
            _set_mode(node, traced.model.get_submodule(path).training)
        elif node.op == "call_function" and node.target is torch._assert:
            graph.erase_node(node)  # it reads values between two layers
    for node in list(graph.nodes):
        decision = node.meta.get("decision")
        if isinstance(decision, Blend):
            raise ValueError(
                "model must have no activation that is still being annealed, got "
                f"{node.meta.get('scope') or node.name}; train until the slope is 1 first"
            )
        if isinstance(decision, Drop) and decision.copy:
            with graph.inserting_before(node):
                clone = graph.call_method("clone", (node.all_input_nodes[0],))
            replace_node(graph, node, clone)
        elif isinstance(decision, Drop) or _returns_input(kinds, node):
            replace_node(graph, node, node.all_input_nodes[0])
        elif _is_mark(node):
            call = read_call(called_function(node), node.args, node.kwargs)
            assert call is not None
            with graph.inserting_before(node):
                function = FUNCTIONS[call.activation.kind]
                applied = graph.call_function(function, (call.input,), call.settings)
            replace_node(graph, node, applied)


def _set_mode(node: fx.Node, training: bool) -> None:
    """Pass the mode of a module on as a constant."""

    def constant(argument: fx.Node) -> Any:
        return training if argument is node else argument

    for user in list(node.users):
        user.args = fx.node.map_arg(user.args, constant)
        user.kwargs = fx.node.map_arg(user.kwargs, constant)
    node.graph.erase_node(node)


def _is_mark(node: fx.Node) -> bool:
    """Whether a node marks a dropped activation, which a conversion has restored."""
    return node.op == "call_function" and function_name(node.target) == "dropped"


def _returns_input(kinds: Kinds, node: fx.Node) -> bool:
    if len(node.all_input_nodes) != 1:
        return False
    activation = kinds.activation(node)
    if activation is not None:
        return activation.dropped
    module = kinds.module(node)
    if isinstance(module, _IDENTITIES):
        return isinstance(module, nn.Identity) or not module.training
    if node.op != "call_function":
        return False
    if node.target in (operator.add, operator.iadd):  # sums of branches may start with a zero
        return any(type(value) in (int, float) and value == 0 for value in node.args)
    if node.target in _DROPOUTS:
        return argument(node, 2, "training") is False
    name = function_name(node.target)
    return name in _STOCHASTIC and (argument(node, 3, "training") or False) is False


class _Shapes(fx.Interpreter):
    """Notes the shape of each value."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            n.meta["shape"], n.meta["dtype"] = tuple(value.shape), value.dtype
        return value


def _note_shapes(net: fx.GraphModule, example_input: object) -> None:
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    inputs = tuple(v.clone() if isinstance(v, Tensor) else v for v in inputs)
    with torch.no_grad(), quiet(), kept_values(net):
        _Shapes(net).run(*inputs)
