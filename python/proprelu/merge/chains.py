"""Finds the chains of linear operations in a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import fx

from proprelu._core import ConvGeometry, Convolution
from proprelu.graph.kinds import Kinds
from proprelu.merge.layers import Layer, read_layer


@dataclass(eq=False)
class Chain:
    """Linear operations, one after the other, of which only the last result is read elsewhere.

    Attributes:
        source: the value that the first one is applied to.
        steps: the operations; none for the identity.
    """

    source: fx.Node
    steps: list[Layer | Sum] = field(default_factory=list)
    _geometries: dict[tuple[int, int], ConvGeometry | None] = field(default_factory=dict)

    def geometry(self, start: int, end: int) -> ConvGeometry | None:
        """The geometry of some steps as one convolution; None if they cannot be one."""
        if (start, end) not in self._geometries:
            last = step_geometry(self.steps[end - 1])
            before = self.geometry(start, end - 1) if end - start > 1 else None
            found = last
            if end - start > 1:
                found = None if before is None or last is None else before.then(last)
            self._geometries[start, end] = found
        return self._geometries[start, end]

    def nodes(self) -> Iterator[fx.Node]:
        """All operations in it, in execution order."""
        for step in self.steps:
            yield from nodes_of(step)


@dataclass(eq=False)
class Sum:
    """The sum of branches of one value, which is one linear operation.

    Attributes:
        node: the addition.
        branches: the chains that are added.
    """

    node: fx.Node
    branches: tuple[Chain, ...]


Step = Layer | Sum


def nodes_of(step: Step) -> Iterator[fx.Node]:
    """The operations of a step, in execution order."""
    if isinstance(step, Sum):
        for branch in step.branches:
            yield from branch.nodes()
    yield step.node


def layers_of(step: Step) -> Iterator[Layer]:
    """The layers of a step, also those of branches."""
    if isinstance(step, Layer):
        yield step
        return
    for branch in step.branches:
        for inner in branch.steps:
            yield from layers_of(inner)


class Chains(NamedTuple):
    """The chains of a graph.

    Attributes:
        chains: the chains, in execution order.
        left: the convolutions and batch norms that cannot be merged, each with the reason.
    """

    chains: list[Chain]
    left: list[tuple[str, str]]


def find_chains(net: fx.GraphModule) -> Chains:
    """Find the chains of a model in evaluation mode, with the shapes of its values."""
    return _Finder(net).find()


class _Finder:
    def __init__(self, net: fx.GraphModule) -> None:
        self.net, self.kinds = net, Kinds(net)
        # The chain that ends with a value.
        self.ending: dict[fx.Node, Chain] = {}
        self.left: list[tuple[str, str]] = []
        # The operation that overwrites a value.
        self.writers = {self.kinds.writes_to(node): node for node in net.graph.nodes}

    def find(self) -> Chains:
        for node in self.net.graph.nodes:
            layer = read_layer(self.net, node)
            if isinstance(layer, Layer):
                self._add(layer, layer.input, {node})
            elif isinstance(layer, str):
                name = node.target if node.op == "call_module" else node.meta.get("scope")
                self.left.append((str(name or node.name), layer))
            elif self.kinds.is_add(node):
                self._join(node)
        return Chains(list(self.ending.values()), self.left)

    def _add(self, step: Step, source: fx.Node, readers: set[fx.Node]) -> None:
        """Append a step to the chain that ends with its source, if nothing else reads it."""
        chain = self.ending.get(source)
        if chain is not None and set(source.users) <= readers and self._fits(source, step):
            del self.ending[source]
            chain.steps.append(step)
        else:
            chain = Chain(source, [step])
        self.ending[step.node] = chain

    def _fits(self, source: fx.Node, step: Step) -> bool:
        dtypes = {source.meta.get("dtype"), step.node.meta.get("dtype")}
        return source not in self.writers and len(dtypes) == 1

    def _join(self, add: fx.Node) -> None:
        """Make one step of an addition, if both of its values are branches of one value."""
        operands = add.all_input_nodes
        shapes = {each.meta.get("shape") for each in (*operands, add)}
        if len(operands) != 2 or len(shapes) != 1 or len(add.args) != 2 or add.kwargs:
            return
        a, b = (self._branch(operand, add) for operand in operands)
        branches = self._from_one_source(a, b, *operands)
        # The source is read earlier than before, at the start of the branches.
        if branches is None or branches[0].source in self.writers:
            return
        for branch in branches:
            if branch.steps:
                del self.ending[branch.steps[-1].node]
        inside = {add, *(node for branch in branches for node in branch.nodes())}
        self._add(Sum(add, branches), branches[0].source, inside)

    def _branch(self, value: fx.Node, add: fx.Node) -> Chain | None:
        chain = self.ending.get(value)
        return chain if chain is not None and set(value.users) == {add} else None

    @staticmethod
    def _from_one_source(
        a: Chain | None, b: Chain | None, first: fx.Node, second: fx.Node
    ) -> tuple[Chain, Chain] | None:
        if a is not None and b is not None and a.source is b.source:
            return a, b
        if a is not None and a.source is second:
            return a, Chain(second)
        if b is not None and b.source is first:
            return Chain(first), b
        return None


def merged_geometry(steps: list[Step]) -> ConvGeometry | None:
    """The geometry of steps as one convolution; None if it cannot be one."""
    found: ConvGeometry | None = None
    for step in steps:
        own = step_geometry(step)
        if own is None:
            return None
        found = own if found is None else found.then(own)
    return found


def step_geometry(step: Step) -> ConvGeometry | None:
    """The geometry of one step; None if the branches of a sum cannot be one convolution."""
    if isinstance(step, Layer):
        return step.geometry
    total: ConvGeometry | None = None
    for branch in step.branches:
        channels = branch.source.meta["shape"][1]
        own = merged_geometry(branch.steps) or (
            None if branch.steps else ConvGeometry.pointwise(channels, False)
        )
        if own is None:
            return None
        try:
            total = own if total is None else total.beside(own)
        except ValueError:
            return None
    return total


def merged_weights(steps: list[Step]) -> Convolution:
    """The numbers of steps as one convolution."""
    found: Convolution | None = None
    for step in steps:
        own = step.weights() if isinstance(step, Layer) else _sum_weights(step)
        found = own if found is None else found.then(own)
    assert found is not None
    return found


def _sum_weights(step: Sum) -> Convolution:
    total: Convolution | None = None
    for branch in step.branches:
        channels = branch.source.meta["shape"][1]
        own = merged_weights(branch.steps) if branch.steps else Convolution.identity(channels)
        total = own if total is None else total.beside(own)
    assert total is not None
    return total
