"""Times a network beside what it would be without some of its activations and layers."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from proprelu.convert.plan import Plan
from proprelu.convert.remove_layers import remove_layers
from proprelu.convert.surgery import apply_plan
from proprelu.merge import merge
from proprelu.merge.measured import medians


class Timer:
    """Times networks, merged as far as possible.

    Args:
        model: the network as it is, in evaluation mode.
        example_input: see ``merge``.
        activations: see ``plan_for``.
    """

    def __init__(
        self, model: nn.Module, example_input: object, activations: Collection[str]
    ) -> None:
        self._model, self._example_input = model, example_input
        self._activations = activations
        self._inputs = example_input if isinstance(example_input, tuple) else (example_input,)
        self._whole = self._merged(model)

    @property
    def milliseconds(self) -> float:
        """The time that the network takes as it is."""
        return medians([self._whole], self._inputs)[0]

    def part_of(self, plan: Plan) -> float:
        """The time of the network that a plan makes, as a part of the time as it is."""
        if not plan.dropped and not plan.removed:
            return 1.0
        smaller = apply_plan(
            self._model,
            "1:1",
            plan.keep,
            self._example_input,
            activations=self._activations,
            verify=False,
        )
        if plan.removed:
            remove_layers(smaller, plan.removed, self._example_input, inplace=True)
        ours, theirs = medians([self._merged(smaller), self._whole], self._inputs)
        return ours / theirs

    def _merged(self, model: nn.Module) -> nn.Module:
        return merge(model, self._example_input, verify=False)
