"""Finds the uses of activations after convolutions, in execution order."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

from torch import fx, nn

from proprelu.graph.activations import RECTIFIERS, Activation, read_call
from proprelu.graph.calls import called_function, function_name
from proprelu.graph.events import CHECKPOINT, Event
from proprelu.graph.intercept import plain_class
from proprelu.graph.kinds import Kinds
from proprelu.graph.script import FIXED, OPAQUE
from proprelu.graph.trace import Traced


@dataclass(frozen=True)
class Site:
    """One use of an activation after a convolution.

    Attributes:
        name: the activation's path, with ``:2`` for the second use of the same one, and so on.
        conv: the path of its convolution. Several convolutions may reach the activation through
            norms, poolings, residual adds and concatenations; this is the one that runs last,
            shortcuts excepted.
        block: the path of the residual (or dense) block that contains it, else None.
        stage: how often the resolution changes before it, or before the end of its block.
        activation: the activation that is applied here, or was applied before it was dropped.
        node: its node in the graph.
    """

    name: str
    conv: str
    block: str | None
    stage: int
    activation: Activation
    node: fx.Node

    @property
    def label(self) -> str:
        """The activation's path, without the number of the use."""
        return _base_name(self.node)


@dataclass(frozen=True)
class Sites:
    """The sites and convolutions of a graph.

    Attributes:
        sites: the sites, in execution order.
        others: the activations that are not sites, and what was not looked into, each with the
            reason.
        convs: the convolutions that count, which are neither shortcuts nor part of a gate.
        shortcuts: the convolutions of shortcuts, each with the number of sites before it.
        fixed: those of ``others`` that follow a convolution, but cannot be changed.
    """

    sites: tuple[Site, ...]
    others: tuple[tuple[str, str], ...]
    convs: tuple[str, ...]
    shortcuts: tuple[tuple[str, int], ...]
    fixed: tuple[str, ...] = ()


def find_sites(traced: Traced, activations: Collection[str] = RECTIFIERS) -> Sites:
    """Find every site of a traced model.

    A site is one *use* of an activation (module, function or method, in place or not) after a
    convolution, with no linear layer between them. A module that is called three times is three
    sites. Two kinds of convolutions do not count:

    - the 1x1 convolution of a residual block's shortcut;
    - convolutions of a globally pooled value (squeeze-and-excitation), which are linear layers in
      effect. An activation after them is not a site.

    Args:
        traced: a model's graph.
        activations: the kinds that count, keys of ``graph.activations.FUNCTIONS``.

    Returns:
        The sites, and the activations and convolutions that do not count.
    """
    return _Finder(traced, frozenset(activations)).find()


class _Finder:
    def __init__(self, traced: Traced, activations: frozenset[str]) -> None:
        self.kinds = Kinds(traced.model, traced.constants)
        self.counted = activations
        self.nodes = list(traced.graph.nodes)
        self.order = {node: i for i, node in enumerate(self.nodes)}
        self.modules = dict(traced.model.named_modules(remove_duplicate=False))
        self.gates = {n for n in self.nodes if self.kinds.is_conv(n) and self._is_gate(n)}
        self.shortcuts = self._shortcuts()
        self.blocks = self._block_types()
        events = (_event(node) for node in self.nodes)
        self.uses = Counter(event.leaf for event in events if event is not None)

    def find(self) -> Sites:
        sites: list[Site] = []
        others: list[tuple[str, str]] = []
        shortcuts: list[tuple[str, int]] = []
        fixed: list[str] = []
        names, stages = self._names(), self._stages()
        for node in self.nodes:
            if node in self.shortcuts:
                shortcuts.append((_base_name(node), len(sites)))
            if OPAQUE in node.meta:
                others.append((_base_name(node), node.meta[OPAQUE]))
            activation = self._activation(node)
            if activation is None:
                continue
            conv, reason = self._source(node)
            barrier = self._barrier(node)
            if conv is None or barrier is not None:
                others.append((names[node], barrier or reason))
                fixed += [names[node]] if conv is not None and not activation.dropped else []
            else:
                block, stage = self._block(_scope(node)), stages[node]
                sites.append(Site(names[node], _base_name(conv), block, stage, activation, node))
        convs = (n for n in self.nodes if self.kinds.is_conv(n) and not self.kinds.removed(n))
        counted = tuple(_base_name(n) for n in convs if n not in self.gates | self.shortcuts)
        return Sites(
            tuple(_whole_blocks(sites)), tuple(others), counted, tuple(shortcuts), tuple(fixed)
        )

    def _activation(self, node: fx.Node) -> Activation | None:
        activation = self.kinds.activation(node)
        return activation if activation is not None and activation.kind in self.counted else None

    def _stages(self) -> dict[fx.Node, int]:
        stages: dict[fx.Node, int] = {}
        for node in self.nodes:
            before = max((stages[n] for n in node.all_input_nodes), default=0)
            stages[node] = before + self.kinds.changes_size(node)
        return stages

    def _names(self) -> dict[fx.Node, str]:
        nodes = [node for node in self.nodes if self._activation(node)]
        uses = Counter(_base_name(node) for node in nodes)
        seen: Counter[str] = Counter()
        names = {}
        for node in nodes:
            base = _base_name(node)
            seen[base] += 1
            names[node] = f"{base}:{seen[base]}" if uses[base] > 1 else base
        return names

    def _source(self, node: fx.Node) -> tuple[fx.Node | None, str]:
        """The convolution that ``node`` belongs to, or None with the reason."""
        if self.kinds.is_hard_sigmoid(node):
            return None, "in a hard sigmoid"
        convs, reason, seen = [], "no convolution before it", {node}
        queue = list(node.all_input_nodes)
        while queue:
            at = queue.pop()
            if at in seen:
                continue
            seen.add(at)
            if at in self.gates:
                reason = "in a squeeze-and-excitation gate"
            elif self.kinds.is_conv(at):
                convs.append(at)
            elif self.kinds.is_linear(at):
                reason = "after a linear layer"
            else:
                queue += at.all_input_nodes
        main = [conv for conv in convs if conv not in self.shortcuts]
        return max(main or convs, key=self.order.__getitem__, default=None), reason

    def _barrier(self, node: fx.Node) -> str | None:
        """Why an activation cannot be changed, else None."""
        event = _event(node)
        if event is None or event.barrier is None:
            found: str | None = node.meta.get(FIXED)
            return found
        # A module that is called once is replaced as a whole, which a recomputation sees too.
        once = event.leaf is not None and self.uses[event.leaf] == 1
        return None if once and event.barrier == CHECKPOINT else event.barrier

    def _is_gate(self, conv: fx.Node) -> bool:
        """Whether a global pooling reaches ``conv``, through pointwise operations only."""
        at = conv
        while at.all_input_nodes:
            at = at.all_input_nodes[0]
            if self.kinds.is_global_pool(at):
                return True
            through = self._passes(at) or self.kinds.activation(at)
            if not (through or self.kinds.is_pointwise_conv(at)):
                return False
        return False

    def _block_types(self) -> set[type[nn.Module]]:
        joins = [n for n in self.nodes if self.kinds.is_add(n) or self.kinds.is_cat(n)]
        scopes = {_scope(node) for node in joins} - {""}
        return {plain_class(self.modules[scope]) for scope in scopes if scope in self.modules}

    def _block(self, scope: str) -> str | None:
        while scope:
            if scope in self.modules and plain_class(self.modules[scope]) in self.blocks:
                return scope
            scope = scope.rpartition(".")[0]
        return None

    def _shortcuts(self) -> set[fx.Node]:
        shortcuts = set()
        for add in filter(self.kinds.is_add, self.nodes):
            branches = add.all_input_nodes
            found = [
                conv
                for this, other in zip(branches, reversed(branches), strict=True)
                if (conv := self._shortcut(this, other)) is not None
            ]
            shortcuts |= set(sorted(found, key=self.order.__getitem__)[-1:])
        return shortcuts

    def _shortcut(self, branch: fx.Node, other: fx.Node) -> fx.Node | None:
        """The 1x1 convolution that ``branch`` consists of, if ``other`` has the same source."""
        conv = self._up(branch)
        if not self.kinds.is_pointwise_conv(conv):
            return None
        start, seen, queue = self._up(conv.all_input_nodes[0]), {conv}, [other]
        while queue:
            at = queue.pop()
            if at is start:
                return conv
            if at not in seen and self.order[at] > self.order[start]:
                seen.add(at)
                queue += at.all_input_nodes
        return None

    def _up(self, node: fx.Node) -> fx.Node:
        """The nearest earlier node that is not a norm, a pooling, a dropout or an identity."""
        while True:
            scaled = self.kinds.scaled(node)
            if scaled is None and not self._passes(node):
                return node
            node = scaled or node.all_input_nodes[0]

    def _passes(self, node: fx.Node) -> bool:
        module = self.kinds.module(node)
        kind = type(module).__name__
        passes = isinstance(module, (nn.Identity, nn.Dropout, nn.Dropout2d)) or "Pool" in kind
        return bool(node.all_input_nodes) and (passes or self.kinds.is_norm(node))


def _whole_blocks(sites: list[Site]) -> list[Site]:
    """Assign a block that changes the resolution to the stage that follows the change."""
    last = {site.block: site.stage for site in sites}
    return [replace(s, stage=s.stage if s.block is None else last[s.block]) for s in sites]


def _scope(node: fx.Node) -> str:
    scope: str = node.meta.get("scope", "")
    return scope


def _base_name(node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target)
    scope = _scope(node)
    call = read_call(called_function(node), node.args, node.kwargs)
    if call is not None and call.activation.dropped:  # a mark has the name of what it replaces
        name = call.activation.kind
    else:
        name = function_name(node.target).lstrip("_") or str(node.target)
    return f"{scope}.{name}" if scope else name


def _event(node: fx.Node) -> Event | None:
    found: Event | None = node.meta.get("event")
    return found
