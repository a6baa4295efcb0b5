"""What is done where an activation is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor

from proprelu.graph.activations import Activation, apply
from proprelu.graph.dropped import dropped
from proprelu.graph.slope import Slope, Slopes
from proprelu.graph.sloped import sloped


class Use(NamedTuple):
    """One call of an activation, while the model runs.

    Attributes:
        input: the value that the activation is applied to.
        activation: what is called.
        settings: its other arguments.
        run: makes the call as the model has it.
    """

    input: Any
    activation: Activation
    settings: dict[str, Any]
    run: Callable[[], Any]

    @property
    def name(self) -> str:
        return self.activation.kind + ("_" if self.activation.inplace else "")


class Decision:
    """What a site computes instead of its activation.

    Attributes:
        linear: whether the activation is gone, or is going.
        known: whether ``linear`` holds for marks too, which have no activation by themselves.
        word: what the name of a module with this decision begins with.
    """

    linear = False
    known = True
    word = ""

    def __call__(self, use: Use) -> Any:
        """The value of the site."""
        return use.run()

    def settled(self) -> Decision:
        """What is left when a blended site has become linear."""
        return self


@dataclass(frozen=True)
class Keep(Decision):
    """The model's own call."""

    known = False


@dataclass(frozen=True)
class Apply(Decision):
    """Applies the activation that a mark stands for."""

    def __call__(self, use: Use) -> Any:
        return apply(use.activation, use.input, use.settings)


@dataclass(frozen=True)
class Drop(Decision):
    """Returns the input.

    Args:
        copy: return a copy, because the result or the input is overwritten later while the other
            one is still read. The activation's result was a tensor of its own.
    """

    copy: bool = False
    linear = True
    word = "Dropped"

    def __call__(self, use: Use) -> Any:
        value = use.input
        if not isinstance(value, Tensor):  # a tracer's symbol: it records what was dropped
            value = dropped(value, use.name, **use.settings)
        return value.clone() if self.copy else value


@dataclass(frozen=True)
class Blend(Decision):
    """Blends the activation with the identity.

    Args:
        slope: holds the slope.
        site: the number of the site, for slopes that differ.
        then: what is left when the slope has reached 1.
    """

    slope: Slope | Slopes
    site: int = 0
    then: Drop = field(default_factory=Drop)
    linear = True
    word = "Blended"

    def __call__(self, use: Use) -> Any:
        slope = self.slope.of(self.site)
        if not use.activation.inplace:
            return sloped(use.input, use.activation.kind, slope, **use.settings)
        # Other readers of the input get the activation's result, as before.
        value = sloped(use.input.clone(), use.activation.kind, slope, **use.settings)
        use.input.copy_(value)
        return use.input

    def settled(self) -> Decision:
        return self.then


@dataclass(eq=False)
class Switch(Decision):
    """Drops the activation while it is off; for measurements."""

    off: bool = False

    def __call__(self, use: Use) -> Any:
        if self.off:
            return Drop(copy=not use.activation.inplace)(use)
        return use.run()


@dataclass(eq=False)
class Watch(Decision):
    """Makes the model's own call, and notes that it was made.

    Args:
        site: what to note.
        seen: the notes: the site, and the activation that was called.
    """

    site: Any
    seen: list[tuple[Any, Activation]]

    def __call__(self, use: Use) -> Any:
        self.seen.append((self.site, use.activation))
        return use.run()


def copying(decision: Decision) -> Decision:
    """The same decision, with a copy of the input in place of the input itself."""
    if isinstance(decision, Drop):
        return Drop(copy=True)
    return replace(decision, then=Drop(copy=True)) if isinstance(decision, Blend) else decision
