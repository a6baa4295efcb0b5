"""Finds where dropping an activation would let an in-place operation change what others read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from torch import fx, nn

from proprelu.graph.kinds import Kinds

# Modules that return their input, or a view of it, at least in one of the modes.
_VIEWS = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)


def overwritten(kinds: Kinds, graph: fx.Graph, dropped: Collection[fx.Node]) -> set[fx.Node]:
    """The dropped activations with a result or input that is overwritten later.

    An activation that does not work in place returns a tensor of its own. If it is dropped, its
    result is its input, and a later write into one of them changes both. The same holds for a
    caller that gets both. Where nothing is known of an operation, its result may share memory with
    all of its inputs.

    Args:
        kinds: classifies the nodes.
        graph: the operations.
        dropped: the activations that are to return their input, without those that work in place:
            what is written after these was written into their input before, too.

    Returns:
        Those that have to return a copy.
    """
    groups = _Groups()
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        for source in _shared(kinds, node, node in dropped):
            groups.join(node, source)
    writes = [
        (order[node], groups.of(written))
        for node in graph.nodes
        if node not in dropped and (written := kinds.writes_to(node)) is not None
    ]
    (output,) = graph.find_nodes(op="output")
    returned = Counter(groups.of(node) for node in output.all_input_nodes)
    return {
        node
        for node in dropped
        if returned[groups.of(node)] > 1
        or any(at > order[node] and group is groups.of(node) for at, group in writes)
    }


def _shared(kinds: Kinds, node: fx.Node, dropped: bool) -> list[fx.Node]:
    """The inputs that a node's result may share memory with."""
    if dropped:
        return node.all_input_nodes[:1]
    if kinds.makes_fresh(node):
        return []
    written = kinds.writes_to(node)
    if written is not None:
        return [written]
    module = kinds.module(node)
    if isinstance(module, _VIEWS) or node.op == "call_method":
        return node.all_input_nodes[:1]
    return node.all_input_nodes


class _Groups:
    """Sets of nodes that may share memory."""

    def __init__(self) -> None:
        self._parents: dict[fx.Node, fx.Node] = {}

    def of(self, node: fx.Node) -> fx.Node:
        """The node that stands for the set of ``node``."""
        while (parent := self._parents.get(node, node)) is not node:
            node = parent
        return node

    def join(self, a: fx.Node, b: fx.Node) -> None:
        self._parents[self.of(a)] = self.of(b)
