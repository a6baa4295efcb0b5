"""Puts decisions for the activations of a traced model into its modules, and reads them there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import fx, nn

from proprelu.graph.activations import MARK, module_activation
from proprelu.graph.aliases import overwritten
from proprelu.graph.decisions import Apply, Blend, Decision, Drop, Keep, copying
from proprelu.graph.functions import FUNCTIONS
from proprelu.graph.intercept import (
    Chain,
    Sequences,
    Table,
    held,
    intercept,
    plain_class,
    restore,
)
from proprelu.graph.kinds import Kinds
from proprelu.graph.sites import Site, find_sites
from proprelu.graph.slope import Slope
from proprelu.graph.trace import Traced
from proprelu.graph.tracer import Event

_KEEP = Keep()


def decide(
    traced: Traced,
    sites: Sequence[Site],
    keep: Sequence[bool],
    dropped: Callable[[int], Decision] = lambda site: Drop(),
) -> None:
    """Note at each node of a trace what the model is to compute there.

    Args:
        traced: the trace.
        sites: its sites.
        keep: for each site, whether its activation is applied.
        dropped: makes the decision for a site that is not kept, from its number. A site that is
            linear already is not blended again.

    Raises:
        ValueError: the forward uses an activation more often in training than in evaluation.
    """
    for path in traced.paths:
        same = sites if path is traced else _same_sites(path, sites)
        for number, (site, kept) in enumerate(zip(same, keep, strict=True)):
            if site is None:
                continue
            site.node.meta["decision"] = _decision(traced, site, kept, dropped, number)
    for path in traced.paths:
        kinds = Kinds(path.model, path.constants)
        gone = [
            event.node
            for event in path.events
            if event.node is not None and _returns_input(event.node.meta["decision"])
            and not getattr(kinds.activation(event.node), "inplace", True)
        ]  # fmt: skip
        for node in overwritten(kinds, path.graph, gone):
            node.meta["decision"] = copying(node.meta["decision"])


def _returns_input(decision: Decision) -> bool:
    return isinstance(decision.settled(), Drop)


def _decision(
    traced: Traced, site: Site, kept: bool, dropped: Callable[[int], Decision], number: int
) -> Decision:
    before: Decision = site.node.meta["decision"]
    mark = _is_mark(traced.model, site.node)
    if kept:
        return Apply() if mark else _KEEP
    if site.activation.dropped and not isinstance(before, Blend):
        linear = isinstance(before, Drop) or mark
        if linear:
            return _KEEP if mark else Drop()
    return dropped(number)


def _is_mark(model: nn.Module, node: fx.Node) -> bool:
    """Whether a node by itself applies nothing: a mark, or a module that stands for one."""
    if node.op == "call_module":
        activation = module_activation(model.get_submodule(str(node.target)))
        return activation is not None and activation.dropped
    event: Event = node.meta["event"]
    return event.family == MARK


def _same_sites(training: Traced, sites: Sequence[Site]) -> list[Site | None]:
    """Find the sites of the evaluation graph in the training graph, which may have more.

    A part may be left out in training by chance (stochastic depth): then it has no trace, and the
    decisions for it are those of evaluation.
    """
    found: dict[tuple[str, str], list[Site]] = {}
    for site in find_sites(training, tuple(FUNCTIONS)).sites:
        found.setdefault(_use(site), []).append(site)
    uses = Counter(map(_use, sites))
    if any(len(found.get(use, [])) not in (0, count) for use, count in uses.items()):
        raise ValueError(
            f"cannot convert {plain_class(training.model).__name__}: its forward uses an "
            "activation more often in training than in evaluation; build the model without that "
            "branch (for example aux_logits=False), or give it activations of its own"
        )
    in_order = {use: iter(found.get(use, [])) for use in uses}
    return [next(in_order[_use(site)], None) for site in sites]


def _use(site: Site) -> tuple[str, str]:
    return site.label, site.activation.kind


class _Found(NamedTuple):
    """An event with the decision for it, and the mode in which it happens."""

    event: Event
    decision: Decision
    modes: tuple[bool, ...]


def install(model: nn.Module, traced: Traced, slope: Slope | None = None) -> None:
    """Make a model compute what the decisions say; earlier ones are removed.

    Args:
        model: the traced model, or a copy of it.
        traced: the trace, with a decision at each node.
        slope: the slope of the sites that are being blended, if all share one.
    """
    found = list(_found(traced))
    leaves, mixed = _leaves(found)
    counted = [each for each in found if _counts(traced.model, each, leaves)]
    scopes = _scopes(counted, mixed)
    tables: dict[str, Table] = {}
    while True:  # decisions that differ between the calls of a scope need the scopes around it
        scopes = _closed(scopes, counted)
        tables = {path: _table(path, counted, traced) for path in sorted(scopes)}
        more = {
            path
            for table in tables.values()
            for by_chain in table.sequences.values()
            for chain in by_chain
            for path, _ in chain
        }
        if more <= scopes:
            break
        scopes |= more
    remove(model)
    modules = dict(model.named_modules())
    for path, decision in leaves.items():
        intercept(modules[path], decision)
    for path in _to_be_seen(counted, tables):
        intercept(modules[path], _KEEP)
    for run, path in (each for trace in traced.paths for each in trace.opaque):
        if run.within(scopes):
            intercept(modules[path], Table(path))
    for path, table in tables.items():
        intercept(modules[path], table)
    if slope is not None:
        root = held(model)
        table = root if isinstance(root, Table) else Table("", counts=False)
        table.slope = slope
        slope.attach()
        intercept(model, table)


def remove(model: nn.Module) -> None:
    """Give all modules back their own classes."""
    for module in model.modules():
        restore(module)


@contextmanager
def plain(model: nn.Module) -> Iterator[None]:
    """Give all modules back their own classes for a while."""
    before = [(module, held(module)) for module in model.modules()]
    remove(model)
    try:
        yield
    finally:
        remove(model)
        for module, decisions in before:
            if decisions is not None:
                intercept(module, decisions)


def _found(traced: Traced) -> Iterator[_Found]:
    paths = traced.paths
    for path, training in zip(paths, (False, True), strict=False):
        modes = (False, True) if len(paths) == 1 else (training,)
        for event in path.events:
            decision = _KEEP if event.node is None else event.node.meta["decision"]
            yield _Found(event, decision, modes)


def _leaves(found: Sequence[_Found]) -> tuple[dict[str, Decision], set[str]]:
    """The modules that are replaced as a whole, and the others with decisions, by path."""
    decisions: dict[str, list[Decision]] = {}
    for event, decision, _ in found:
        if event.leaf is not None:
            decisions.setdefault(event.leaf, []).append(decision)
    leaves: dict[str, Decision] = {}
    mixed: set[str] = set()
    for path, own in decisions.items():
        copied = [d for d in own if d == copying(d)]
        first = copied[0] if copied else own[0]
        if all(d == first or copying(d) == first for d in own):
            if first != _KEEP:
                leaves[path] = first
        else:
            mixed.add(path)
    return leaves, mixed


def _counts(model: nn.Module, found: _Found, leaves: Mapping[str, Decision]) -> bool:
    """Whether a scope that runs sees this call."""
    leaf = found.event.leaf
    if leaf is None:
        return True
    activation = module_activation(model.get_submodule(leaf))
    return leaf not in leaves and activation is not None and not activation.dropped


def _scopes(counted: Sequence[_Found], mixed: set[str]) -> set[str]:
    """The paths of the modules that have to count their activations."""
    scopes = set()
    for event, decision, _ in counted:
        if decision != _KEEP or event.leaf in mixed:
            if event.barrier is not None:
                raise ValueError(
                    f"cannot drop some of the calls of {event.leaf or event.family} in "
                    f"{event.run.path or 'the forward'}: it is {event.barrier}; skip this site, or "
                    "give each call a module of its own"
                )
            scopes.add(event.run.path)
    return scopes


def _closed(scopes: set[str], counted: Sequence[_Found]) -> set[str]:
    """Add the modules with activations that run inside of scopes, which must not count them."""
    scopes = set(scopes)
    while True:
        more = {e.run.path for e, _, _ in counted if e.run.within(scopes)} - scopes
        if not more:
            return scopes
        scopes |= more


def _table(path: str, counted: Sequence[_Found], traced: Traced) -> Table:
    own = [each for each in counted if each.event.run.path == path]
    families = {each.event.family for each in own if each.decision != _KEEP}
    table = Table(path)
    for training in (False, True):
        by_chain: dict[Chain, dict[str, list[Decision]]] = {}
        for event, decision, modes in own:
            if training in modes and event.family in families:
                sequences = by_chain.setdefault(event.run.chain, {})
                sequences.setdefault(event.family, []).append(decision)
        if not by_chain:  # it may have been left out by chance: stochastic depth
            if training and table.sequences.get(False):
                table.sequences[True] = dict(table.sequences[False])
            continue
        frozen: dict[Chain, Sequences] = {
            chain: {family: tuple(each) for family, each in sequences.items()}
            for chain, sequences in by_chain.items()
        }
        different = list(frozen.values())
        same = all(each == different[0] for each in different)
        table.sequences[training] = {(): different[0]} if same else frozen
    return table


def _to_be_seen(counted: Sequence[_Found], tables: Mapping[str, Table]) -> set[str]:
    """The activation modules that are counted: other tracers must look into them."""
    seen = set()
    for event, _, _ in counted:
        table = tables.get(event.run.path)
        if table is not None and event.leaf is not None:
            for by_chain in table.sequences.values():
                if any(event.family in sequences for sequences in by_chain.values()):
                    seen.add(event.leaf)
    return seen
