"""Puts decisions for the activations of a traced model into its modules, and reads them there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import nn

from proprelu.graph.activations import module_activation
from proprelu.graph.decisions import Blend, Decision, Keep, copying
from proprelu.graph.events import Event
from proprelu.graph.intercept import held, intercept, restore
from proprelu.graph.scopes import Chain, Sequences, Table
from proprelu.graph.slope import Slope
from proprelu.graph.trace import Traced

_KEEP = Keep()


class _Found(NamedTuple):
    """An event with the decision for it, and the mode in which it happens."""

    event: Event
    decision: Decision
    modes: tuple[bool, ...]


def install(model: nn.Module, traced: Traced) -> None:
    """Make a model compute what the decisions say; earlier ones are removed.

    Args:
        model: the traced model.
        traced: the trace, with a decision at each node.
    """
    found = list(_found(traced))
    leaves, mixed = _leaves(found)
    counted = [each for each in found if _counts(model, each, leaves)]
    tables = _tables(counted, _scopes(counted, mixed))
    remove(model)
    modules = dict(model.named_modules())
    for path, decision in leaves.items():
        intercept(modules[path], decision)
    for path in _to_be_seen(counted, tables):
        intercept(modules[path], _KEEP)
    for run, path in (each for trace in traced.paths for each in trace.opaque):
        if run.within(set(tables)):
            intercept(modules[path], Table(path))
    for path, table in tables.items():
        intercept(modules[path], table)
    for slope in {each.decision.slope for each in found if isinstance(each.decision, Blend)}:
        if isinstance(slope, Slope):
            slope.attach()
            root = held(slope.model)
            table = root if isinstance(root, Table) else Table("", counts=False)
            table.slope = slope
            intercept(slope.model, table)


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


def _tables(counted: Sequence[_Found], scopes: set[str]) -> dict[str, Table]:
    """The tables of all modules that have to count their activations, by path."""
    while True:
        scopes = _closed(scopes, counted)
        tables = {path: _table(path, counted) for path in sorted(scopes)}
        # Decisions that differ between the calls of a scope need the scopes around it.
        chains = (c for table in tables.values() for by in table.sequences.values() for c in by)
        around = {path for chain in chains for path, _ in chain}
        if around <= scopes:
            return tables
        scopes |= around


def _table(path: str, counted: Sequence[_Found]) -> Table:
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
