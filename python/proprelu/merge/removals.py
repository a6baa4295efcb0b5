"""Finds the layers of a network that can be removed without changing the shape of a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from proprelu.graph import FUNCTIONS, Traced, decide, find_sites
from proprelu.graph.kinds import Kinds
from proprelu.merge.branches import Branch, find_branch
from proprelu.merge.evaluation import evaluation_graph


@dataclass(frozen=True)
class Removal:
    """Something that can be removed: a convolution with its norms, or a residual branch.

    Attributes:
        name: the path of the convolution, or that of the block whose branch it is.
        layers: the paths of the layers, in execution order.
        kinds: what each is: ``"convolution"``, ``"linear"`` or ``"norm"``.
        addition: for a branch, the name of the node that adds it to the shortcut; else None.
        last: for a branch, the path of the layer that returns zeros when it is removed.
        either: for a branch, the names of convolutions that can be removed one by one, of which
            one has to stay, as nothing else is in the branch. Without all of them ``x + f(x)``
            would be ``2 * x``.
    """

    name: str
    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    addition: str | None = None
    last: str | None = None
    either: tuple[str, ...] = ()

    @property
    def convolutions(self) -> int:
        """The number of convolutions in it."""
        return self.kinds.count("convolution")


def find_removals(model: nn.Module, example_input: object) -> tuple[Removal, ...]:
    """Find what can be removed from a model, in execution order.

    - A convolution whose result has the shape of its input, with the batch norms that follow it
      directly, can become the identity.
    - A branch ``f`` of a residual addition ``x + f(x)`` can be removed as a whole.

    Not offered is what would leave a network that computes the same value twice: all convolutions
    of a branch that is added to its own input, or concatenated with it. Neither are convolutions of
    globally pooled values, and layers that are called several times, that have hooks, or the
    weights of which are read elsewhere.

    Args:
        model: a model in evaluation mode; it is not changed.
        example_input: see ``merge``.

    Raises:
        ValueError: the model cannot be traced.
    """
    return _Finder(evaluation_graph(model, example_input, _apply_all)).find()


def _apply_all(traced: Traced) -> None:
    """Undo what was dropped, so that a converted model has the same removals as the original."""
    sites = find_sites(traced, tuple(FUNCTIONS)).sites
    decide(traced, sites, [True] * len(sites))


class _Finder:
    def __init__(self, net: fx.GraphModule) -> None:
        self.net, self.kinds = net, Kinds(net)
        self.nodes: list[fx.Node] = list(net.graph.nodes)
        self.calls = Counter(str(node.target) for node in self.nodes if node.op == "call_module")
        registered = net.named_modules(remove_duplicate=False)
        self.registered = Counter(module for _, module in registered)
        self.read = [str(node.target) for node in self.nodes if node.op == "get_attr"]

    def find(self) -> tuple[Removal, ...]:
        withheld: set[str] = set()
        branches: list[tuple[fx.Node, Removal]] = []
        for node in self.nodes:
            either = self._twice(node)
            branch = self._branch(node)
            # All but one can go, unless it is only one, or the values are joined in another way.
            if branch is None or len(either) < 2:
                withheld |= set(either)
                either = ()
            if branch is not None:
                branches.append((node, self._removal(node, branch, either)))
        singles = [(n, each) for n, each in self.singles.items() if each.name not in withheld]
        order = {node: number for number, node in enumerate(self.nodes)}
        found = sorted([*singles, *_with_names(branches)], key=lambda each: order[each[0]])
        return tuple(removal for _, removal in found)

    @cached_property
    def singles(self) -> dict[fx.Node, Removal]:
        """The convolutions that keep the shape, with their norms."""
        found = {}
        for node in self.nodes:
            if self._keeps_shape(node):
                nodes = list(self._with_norms(node))
                layers = tuple(str(each.target) for each in nodes)
                found[node] = Removal(layers[0], layers, self._kinds_of(nodes))
        return found

    def _keeps_shape(self, node: fx.Node) -> bool:
        if not isinstance(self.kinds.module(node), _ConvNd) or not self._is_free(node):
            return False
        (source,) = node.all_input_nodes
        shape = node.meta.get("shape", ())
        same = all(source.meta.get(key) == node.meta.get(key) for key in ("shape", "dtype"))
        return same and len(shape) == 4 and shape[2] * shape[3] > 1

    def _is_free(self, node: fx.Node) -> bool:
        """Whether a node calls a module that nothing else uses."""
        module = self.kinds.module(node)
        if node.op != "call_module" or module is None or node.kwargs:
            return False
        if len(node.args) != 1 or len(node.all_input_nodes) != 1:
            return False
        path = str(node.target)
        hooks = (
            module._forward_hooks, module._forward_pre_hooks,
            module._backward_hooks, module._backward_pre_hooks,
        )  # fmt: skip
        once = self.calls[path] == 1 and self.registered[module] == 1
        return once and not any(hooks) and not any(r.startswith(f"{path}.") for r in self.read)

    def _with_norms(self, conv: fx.Node) -> Iterator[fx.Node]:
        """A convolution, and the norms that are applied to nothing else than its result."""
        while True:
            yield conv
            users = list(conv.users)
            if len(users) != 1 or not (self.kinds.is_norm(users[0]) and self._is_free(users[0])):
                return
            (conv,) = users

    def _is_weighted(self, node: fx.Node) -> bool:
        """Whether a node computes with weights, more than a norm or an activation does."""
        if self.kinds.is_conv(node) or self.kinds.is_linear(node):
            return True
        if self.kinds.is_norm(node) or self.kinds.activation(node) is not None:
            return False
        module = self.kinds.module(node)
        return module is not None and any(True for _ in module.parameters())

    @cached_property
    def _reached(self) -> dict[fx.Node, frozenset[fx.Node]]:
        """What each value is made of without weights, if all removals are made."""
        found: dict[fx.Node, frozenset[fx.Node]] = {}
        for node in self.nodes:
            passed = node in self.singles or not self._is_weighted(node)
            before = [found[each] for each in node.all_input_nodes if passed]
            found[node] = frozenset({node}).union(*before)
        return found

    def _twice(self, join: fx.Node) -> tuple[str, ...]:
        """The removals without all of which a join would get the same value twice."""
        if join.op == "output":
            return ()
        values = [each for each in join.all_input_nodes if each.op != "get_attr"]
        found: dict[str, None] = {}
        for a, b in combinations(values, 2):
            reached = self._reached[a], self._reached[b]
            if reached[0] & reached[1]:
                between = reached[0] ^ reached[1]
                found |= {s.name: None for node, s in self.singles.items() if node in between}
        return tuple(found)

    def _branch(self, add: fx.Node) -> Branch | None:
        """The residual branch that ends at an addition, if it can be removed."""
        branch = find_branch(self.kinds, self.nodes, add)
        if branch is None:
            return None
        layers = [node for node in branch.nodes if self._is_layer(node)]
        others = [node for node in branch.nodes if node not in layers]
        if not all(map(self._is_free, layers)) or any(map(self._is_weighted, others)):
            return None
        if not any(self.kinds.is_conv(node) for node in layers):
            return None
        last = branch.last_of(self.kinds, layers)
        if last is None:
            return None
        found = branch._replace(layers=layers, last=last)
        return found if found.is_zero_without(self.net) else None

    def _is_layer(self, node: fx.Node) -> bool:
        """Whether a node calls a module with tensors that is no activation."""
        module = self.kinds.module(node)
        if node.op != "call_module" or module is None or self.kinds.activation(node) is not None:
            return False
        tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
        return bool(tensors) or self.kinds.is_norm(node)

    def _removal(self, add: fx.Node, branch: Branch, either: Sequence[str]) -> Removal:
        layers = tuple(str(node.target) for node in branch.layers)
        assert branch.last is not None
        kinds = self._kinds_of(branch.layers)
        return Removal("", layers, kinds, add.name, str(branch.last.target), tuple(either))

    def _kinds_of(self, nodes: Sequence[fx.Node]) -> tuple[str, ...]:
        def kind(node: fx.Node) -> str:
            if self.kinds.is_conv(node):
                return "convolution"
            return "norm" if self.kinds.is_norm(node) else "linear"

        return tuple(map(kind, nodes))


def _with_names(branches: Sequence[tuple[fx.Node, Removal]]) -> list[tuple[fx.Node, Removal]]:
    """Name branches by their block; where it has several, by their first and last layer."""
    scopes = Counter(str(node.meta.get("scope") or "") for node, _ in branches)
    named = []
    for node, branch in branches:
        name = str(node.meta.get("scope") or "")
        if not name or scopes[name] > 1:
            name = f"{branch.layers[0]} to {branch.layers[-1]}"
        named.append((node, replace(branch, name=name)))
    return named
