"""Cuts what stands for removed layers out of a graph."""

from __future__ import annotations

import operator

from torch import fx

from proprelu.graph import FUNCTIONS
from proprelu.graph.activations import module_settings, read_call
from proprelu.graph.aliases import overwritten
from proprelu.graph.calls import called_function
from proprelu.graph.kinds import Kinds
from proprelu.nn import RemovedBranch, RemovedLayer

# The numbers of the sites with activations that were applied to a value until they were dropped.
SITE, SITES = "site", "sites"

# Activations that change nothing when they are applied again.
_IDEMPOTENT = ("relu", "relu6")


def cut_removed(kinds: Kinds, graph: fx.Graph) -> None:
    """Remove what stands for removed layers, and the additions of removed branches.

    Where something is written in place into a value that others read, it is written elsewhere.

    Args:
        kinds: classifies the nodes.
        graph: the operations in evaluation mode.
    """
    zeros: set[fx.Node] = set()
    copies: list[fx.Node] = []
    for node in list(graph.nodes):
        module = kinds.module(node)
        others = [each for each in node.all_input_nodes if each not in zeros]
        meets_zeros = len(others) < len(node.all_input_nodes)
        if isinstance(module, RemovedLayer) and not meets_zeros:
            copies.append(_copied(graph, node, others[0]))
        elif isinstance(module, (RemovedLayer, RemovedBranch)) or (
            meets_zeros and (kinds.keeps_zero(node) or (kinds.is_add(node) and not others))
        ):
            zeros.add(node)
        elif meets_zeros and kinds.is_add(node):
            copies.append(_copied(graph, node, others[0]))
    erased: set[fx.Node] = set()
    for node in reversed(list(graph.nodes)):
        if node in zeros:
            _erase(kinds, graph, node, erased)
    for copy in copies:
        if copy not in erased:
            _without_copy(kinds, graph, copy)


def replace_node(graph: fx.Graph, node: fx.Node, by: fx.Node) -> None:
    """Replace a node by the value of another one, which then has its sites."""
    sites = (node.meta[SITE],) if SITE in node.meta else node.meta.get(SITES, ())
    if sites:
        by.meta[SITES] = (*by.meta.get(SITES, ()), *sites)
    node.replace_all_uses_with(by)
    graph.erase_node(node)


def _copied(graph: fx.Graph, node: fx.Node, value: fx.Node) -> fx.Node:
    with graph.inserting_before(node):
        clone = graph.call_method("clone", (value,))
    replace_node(graph, node, clone)
    return clone


def _erase(kinds: Kinds, graph: fx.Graph, node: fx.Node, erased: set[fx.Node]) -> None:
    """Erase an operation that nothing reads, and those that only it has read."""
    if node in erased or node.users or node.op in ("placeholder", "get_attr", "output"):
        return
    written = kinds.writes_to(node)
    if written is not None and not (kinds.makes_fresh(written) and len(written.users) == 1):
        return
    inputs = node.all_input_nodes
    graph.erase_node(node)
    erased.add(node)
    for each in reversed(inputs):
        _erase(kinds, graph, each, erased)


def _without_copy(kinds: Kinds, graph: fx.Graph, copy: fx.Node) -> None:
    """Remove a copy that is not needed, if need be by not writing into it."""
    (source,) = copy.all_input_nodes
    users = list(copy.users)
    if len(users) == 1 and kinds.writes_to(users[0]) is copy:
        _write_elsewhere(kinds, graph, users[0], copy)
    alone = kinds.makes_fresh(source) and len(source.users) == 1
    if alone or not overwritten(kinds, graph, [copy]):
        replace_node(graph, copy, source)
        for user in list(source.users):
            if _repeats(kinds, user, source):
                replace_node(graph, user, source)


def _repeats(kinds: Kinds, node: fx.Node, source: fx.Node) -> bool:
    """Whether an activation follows the same one, and returns its value."""
    own, before = kinds.activation(node), kinds.activation(source)
    if own is None or before is None or kinds.writes_to(node) is not None:
        return False
    return own.kind == before.kind in _IDEMPOTENT and not (own.dropped or before.dropped)


def _write_elsewhere(kinds: Kinds, graph: fx.Graph, node: fx.Node, value: fx.Node) -> None:
    """Replace an activation or an addition that works in place by one that does not."""
    activation = kinds.activation(node)
    if node.target is operator.iadd:
        node.target = operator.add
    elif activation is not None:
        module = kinds.module(node)
        call = read_call(called_function(node), node.args, node.kwargs)
        settings = module_settings(module) if module is not None else call.settings if call else {}
        with graph.inserting_before(node):
            new = graph.call_function(FUNCTIONS[activation.kind], (value,), settings)
        new.meta = {key: value for key, value in node.meta.items() if key != "event"}
        node.replace_all_uses_with(new)
        graph.erase_node(node)
