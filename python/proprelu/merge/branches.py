"""Finds the branches of residual additions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from proprelu.graph.kinds import Kinds
from proprelu.graph.mode import kept_values, quiet


class Branch(NamedTuple):
    """The branch ``f`` of an addition ``x + f(x)``.

    Attributes:
        source: the value ``x``.
        nodes: the operations of ``f``, in execution order.
        layers: those that have weights.
        last: the last layer, after which zeros remain zeros.
    """

    source: fx.Node
    nodes: list[fx.Node]
    layers: Sequence[fx.Node] = ()
    last: fx.Node | None = None

    def last_of(self, kinds: Kinds, layers: Sequence[fx.Node]) -> fx.Node | None:
        """The last layer, if zeros as its result are zeros at the end of the branch."""
        at = self.nodes[-1]
        while at not in layers:
            inputs = [each for each in at.all_input_nodes if each in self.nodes]
            # A gate is smaller than what it scales.
            whole = [each for each in inputs if each.meta.get("shape") == at.meta.get("shape")]
            found = whole if len(inputs) > 1 else inputs
            if not kinds.keeps_zero(at) or len(found) != 1:
                return None
            (at,) = found
        return at

    def is_zero_without(self, net: fx.GraphModule) -> bool:
        """Whether the branch runs without its layers and gives zeros, of the shape of ``x``."""
        shape, dtype = self.source.meta["shape"], self.source.meta["dtype"]
        device = next((value.device for value in net.parameters()), None)
        inside = [node for node in net.graph.nodes if node.op == "get_attr"]
        runner = _Without(net, self, [*inside, *self.nodes])
        try:
            with torch.no_grad(), quiet(), kept_values(net):
                result = runner.result(torch.ones(shape, dtype=dtype, device=device))
        except Exception:
            return False
        return tuple(result.shape) == tuple(shape) and not bool(result.any())


class _Without(fx.Interpreter):
    """Runs a branch with identities as its layers, and zeros as the last one."""

    def __init__(self, net: fx.GraphModule, branch: Branch, nodes: Sequence[fx.Node]) -> None:
        super().__init__(net)
        self.branch, self.inside = branch, nodes

    def result(self, x: Tensor) -> Tensor:
        self.env[self.branch.source] = x
        for node in self.inside:
            self.env[node] = self.run_node(node)
        found: Any = self.env[self.branch.nodes[-1]]
        assert isinstance(found, Tensor)
        return found

    def run_node(self, n: fx.Node) -> Any:
        if n in self.branch.layers:
            value = self.env[n.all_input_nodes[0]]
            return torch.zeros_like(value) if n is self.branch.last else value.clone()
        return super().run_node(n)


def find_branch(kinds: Kinds, nodes: Sequence[fx.Node], add: fx.Node) -> Branch | None:
    """The branch that an addition adds to its own source; None for any other operation.

    Args:
        kinds: classifies the nodes.
        nodes: all operations, in execution order.
        add: one of them.
    """
    if not kinds.is_add(add) or len(add.all_input_nodes) != 2 or len(add.args) != 2:
        return None
    shapes = {each.meta.get("shape") for each in (add, *add.all_input_nodes)}
    dtypes = {each.meta.get("dtype") for each in (add, *add.all_input_nodes)}
    if len(shapes) != 1 or len(dtypes) != 1 or len(add.meta.get("shape", ())) < 3:
        return None
    first, second = add.all_input_nodes
    for source, end in ((first, second), (second, first)):
        inside = _between(nodes, source, end, add)
        if inside is not None:
            return Branch(source, inside)
    return None


def _between(
    nodes: Sequence[fx.Node], source: fx.Node, end: fx.Node, add: fx.Node
) -> list[fx.Node] | None:
    """What computes a value from another one and from nothing else, and is read nowhere else."""
    found: set[fx.Node] = set()
    queue = [end]
    while queue:
        at = queue.pop()
        if at is source or at in found or at.op == "get_attr":
            continue
        if at.op == "placeholder" or not at.all_input_nodes:
            return None
        found.add(at)
        queue += at.all_input_nodes
    ordered = [node for node in nodes if node in found]
    if not ordered or nodes.index(ordered[0]) < nodes.index(source):
        return None
    users = {user for node in ordered for user in node.users}
    return ordered if users <= found | {add} else None
