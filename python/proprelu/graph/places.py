"""Finds for each call of an activation where a converted model keeps its decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from torch import nn

from proprelu.graph.activations import module_activation
from proprelu.graph.decisions import Decision, Keep
from proprelu.graph.events import Event, Run
from proprelu.graph.intercept import HELD, held
from proprelu.graph.scopes import Table


class Place(NamedTuple):
    """Where a decision is kept.

    Attributes:
        module: the path of the module.
        family: the family of the activation, if the module is a scope.
        number: the number of the decision in the scope's sequence.
        key: the chain under which the sequence is kept.
    """

    module: str
    family: str = ""
    number: int = 0
    key: object = None


def places(
    model: nn.Module, events: Iterable[Event], training: bool
) -> Iterator[tuple[Event, Decision, Place | None]]:
    """Find the decision of each event, and its place; without one the call is the model's own.

    Args:
        model: the model that the events are of.
        events: all of them, in execution order.
        training: whether they are those of training mode.
    """
    modules = dict(model.named_modules())
    counts: dict[Run, Counter[str]] = {}
    for event in events:
        yield event, *_place(modules, event, training, counts)


def _place(
    modules: Mapping[str, nn.Module],
    event: Event,
    training: bool,
    counts: dict[Run, Counter[str]],
) -> tuple[Decision, Place | None]:
    keep = Keep()
    if event.leaf is not None:
        module = modules[event.leaf]
        decision, activation = held(module), module_activation(module)
        if isinstance(decision, Decision) and not isinstance(decision, Keep):
            return decision, Place(event.leaf)
        if activation is not None and activation.dropped:  # nothing is called there
            return keep, None
    path, family = event.run.path, event.family
    table = held(modules[path])
    if not isinstance(table, Table):
        return keep, None
    by_chain = table.sequences.get(training, {})
    key = () if () in by_chain else event.run.chain
    sequence = by_chain.get(key, {}).get(family, ())
    at = counts.setdefault(event.run, Counter())
    number = at[family]
    at[family] += 1
    if number >= len(sequence):
        return keep, None
    return sequence[number], Place(path, family, number, (training, key))


def replace_decisions(model: nn.Module, change: Callable[[Decision, Place], Decision]) -> None:
    """Change all decisions in a model, each from what it is and where it is kept."""
    for path, module in model.named_modules():
        found = held(module)
        if isinstance(found, Keep):  # only seen by other tracers; the scope around it decides
            continue
        if isinstance(found, Decision):
            module.__dict__[HELD] = change(found, Place(path))
        elif isinstance(found, Table):
            for training, by_chain in found.sequences.items():
                for key, sequences in by_chain.items():
                    by_chain[key] = {
                        family: tuple(
                            change(decision, Place(path, family, number, (training, key)))
                            for number, decision in enumerate(sequence)
                        )
                        for family, sequence in sequences.items()
                    }
