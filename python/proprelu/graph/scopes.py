"""Counts the calls of activations while the forwards of scopes run; see ``intercept``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from proprelu.graph.activations import family_of, read_call
from proprelu.graph.decisions import Decision, Use
from proprelu.graph.slope import Slope
from proprelu.graph.where import in_hook

# The calls that lead to a scope: the path of each module, and how often it was called before.
Chain: TypeAlias = tuple[tuple[str, int], ...]
Sequences: TypeAlias = Mapping[str, tuple[Decision, ...]]


@dataclass
class Table:
    """The decisions for the activations that a scope calls.

    Attributes:
        path: the module's path, for messages and for chains.
        sequences: for training and for evaluation, the decisions by family in the order of the
            calls. If they differ between the calls of the scope itself, by its chain; else the
            chain is empty.
        counts: whether activations are counted here at all.
        slope: the slope of an annealed model, at its root.
    """

    path: str
    sequences: dict[bool, dict[Chain, Sequences]] = field(default_factory=dict)
    counts: bool = True
    slope: Slope | None = None


class Frame:
    """One call of a scope: the decisions, and how many of them were used."""

    def __init__(self, path: str, number: int, sequences: Sequences) -> None:
        self.path, self.number, self.sequences = path, number, sequences
        self.at: dict[str, int] = {}
        self.calls: dict[str, int] = {}

    def next(self, family: str) -> Decision:
        at = self.at.get(family, 0)
        self.at[family] = at + 1
        sequence = self.sequences[family]
        if at >= len(sequence):
            raise RuntimeError(_miscounted(self.path, family, "more", len(sequence)))
        return sequence[at]

    def check(self) -> None:
        for family, sequence in self.sequences.items():
            if self.at.get(family, 0) not in (0, len(sequence)):
                raise RuntimeError(_miscounted(self.path, family, "fewer", len(sequence)))


def _miscounted(path: str, family: str, how: str, planned: int) -> str:
    where = f"the forward of {path}" if path else "the model's own forward"
    return (
        f"{where} called {family} {how} often than the {planned} times that it did when the model "
        "was converted, so it is not clear which of them were dropped; make these activations "
        "modules (nn.ReLU), convert a model without that branch or hook, or skip them"
    )


class Intercepting(TorchFunctionMode):
    """Sees the calls of torch's functions while scopes run; the innermost scope decides.

    Args:
        frame: the call of the outermost scope.
    """

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.frames = [frame]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        frame = self.frames[-1]
        if not frame.sequences:
            return func(*args, **kwargs)
        found = family_of(func, args, kwargs)
        if found is None or found[0] not in frame.sequences or in_hook():
            return func(*args, **kwargs)
        decision = frame.next(found[0])
        call = read_call(func, args, kwargs)
        if call is None:
            return func(*args, **kwargs)
        return decision(Use(*call, lambda: func(*args, **kwargs)))


def running() -> Intercepting | None:
    """The mode of the scopes that are running in this thread."""
    if not torch._C._len_torch_function_stack():
        return None
    for mode in reversed(_get_current_function_mode_stack()):  # type: ignore[no-untyped-call]
        if isinstance(mode, Intercepting):
            return mode
    return None


def frame_of(table: Table, training: bool, mode: Intercepting | None) -> Frame:
    sequences, number = table.sequences.get(training, {}), 0
    if mode is not None:
        parent = mode.frames[-1]
        number = parent.calls.get(table.path, 0)
        parent.calls[table.path] = number + 1
    if not sequences:
        return Frame(table.path, number, {})
    if () in sequences:
        return Frame(table.path, number, sequences[()])
    outer = [] if mode is None else mode.frames
    chain = (*((frame.path, frame.number) for frame in outer), (table.path, number))
    if chain not in sequences:
        raise RuntimeError(
            f"{table.path} decides differently in each of its calls, and was called outside of the "
            "converted model or more often than when it was converted; call the whole model, and "
            "do not recompute this part in the backward"
        )
    return Frame(table.path, number, sequences[chain])
