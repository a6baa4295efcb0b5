"""Plans which activations and layers go so that the network, merged, meets a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NamedTuple

from torch import nn

from proprelu.checks import as_real
from proprelu.convert.choices import Choices
from proprelu.convert.plan import Placement, Plan
from proprelu.convert.ranking import Ranking
from proprelu.convert.timer import Timer
from proprelu.graph import Sites, copied

OBJECTIVES = ("latency", "macs")

# A network is near enough to its budget if it has this part less of the original's time. At most
# so many plans are tried until one is.
_CLOSE, _TRIES = 0.02, 8


class Goal(NamedTuple):
    """What a plan has to reach.

    Attributes:
        objective: ``"latency"`` or ``"macs"``.
        budget: the part of the original's cost that the merged network may have.
        ranking: the cost of dropping each site, and of removing each layer that may go.
        example_input: its shapes decide what is fast.
    """

    objective: str
    budget: float
    ranking: Ranking
    example_input: object


def as_goal(
    objective: str | None, budget: float | None, placement: Placement, example_input: object
) -> Goal | None:
    """The goal that arguments of ``plan_for`` describe; None if they describe none.

    Raises:
        ValueError: they do not fit together.
    """
    if objective is None and budget is None:
        return None
    checked = check_budget(objective, budget)
    if not isinstance(placement, Ranking):
        raise ValueError(
            "placement must be a ranking for a budget, which decides by its costs; pass the "
            "result of sensitivity() or learn_placement()"
        )
    if any(map(math.isnan, (*placement.costs, *placement.layer_costs))):
        raise ValueError(
            "placement must be a ranking of numbers, got one with NaN; measure with images like "
            "those that the model was trained with"
        )
    if example_input is None:
        raise ValueError(
            "example_input must be given for a budget, got None; pass a batch as it will come in "
            "use, as its shape decides what is fast"
        )
    return Goal(*checked, placement, example_input)


def check_budget(objective: object, budget: object) -> tuple[str, float]:
    """The objective and the budget, or a ``ValueError`` if they are not what they must be."""
    if objective not in OBJECTIVES:
        raise ValueError(f'objective must be "latency" or "macs" for a budget, got {objective!r}')
    part = as_real(budget)
    if part is None or not 0 < part <= 1:
        raise ValueError(
            f"budget must be the part of the original's {objective} that is left, above 0 and at "
            f"most 1, got {budget!r}"
        )
    return str(objective), part


def plan_within(
    goal: Goal, model: nn.Module, sites: Sites, by_ratio: Plan, activations: Collection[str]
) -> Plan:
    """The plan of the lowest loss within a budget.

    Args:
        goal: the budget.
        model: the model, which is not changed.
        sites: its sites.
        by_ratio: the plan without a budget: no other sites are dropped than those in its groups,
            and no more.
        activations: see ``plan_for``.

    Raises:
        ValueError: no choice is within the budget.
    """
    original = copied(model).eval()
    timer = None
    if goal.objective == "latency":
        timer = Timer(original, goal.example_input, activations)
    choices = Choices(
        original,
        sites,
        by_ratio,
        goal.ranking,
        goal.objective,
        goal.example_input,
        activations,
        None if timer is None else timer.milliseconds,
    )
    if timer is not None:
        return _as_measured(goal, choices, timer.part_of)
    plan = choices.within(goal.budget)
    if plan is None:
        raise ValueError(_too_small(goal, choices.least))
    return plan


def _as_measured(goal: Goal, choices: Choices, part_of: Callable[[Plan], float]) -> Plan:
    """The plan of the lowest loss with a network that is within the budget as a whole.

    The times of operations add up to that of the network only roughly: the cost of activations
    that are dropped is not among them, and others find their inputs in the cache or not. So the
    sum that is allowed is raised or lowered until the network meets the budget closely.

    Args:
        goal: the budget.
        choices: what the network can become.
        part_of: measures the network of a plan, as a part of the original's time.
    """
    least, low, high = choices.least, choices.least, math.inf
    allowed = max(goal.budget, least)
    parts: dict[str, float] = {}
    best: Plan | None = None

    def try_with(allowed: float) -> tuple[Plan, float]:
        plan = choices.within(allowed)
        assert plan is not None
        lost = f"{plan.keep} {plan.removed}"
        if lost not in parts:
            parts[lost] = part_of(plan)
        return plan, parts[lost]

    for _ in range(_TRIES):
        plan, part = try_with(allowed)
        if part <= goal.budget:
            best, low = replace(plan, expected=part), allowed
        else:
            high = allowed
        is_close = goal.budget - _CLOSE <= part <= goal.budget
        if is_close or high - low < _CLOSE / 4:
            break
        allowed += goal.budget - part
        if best is not None and not low < allowed < high:
            allowed = (low + high) / 2
        allowed = max(allowed, least)
    if best is None:
        plan, part = try_with(least)
        if part > goal.budget:
            raise ValueError(_too_small(goal, part))
        best = replace(plan, expected=part)
    return best


def _too_small(goal: Goal, least: float) -> str:
    """What to do about a budget below the least that can be reached."""
    if least > 0.995:
        advice = "take another model or objective"
        if not goal.ranking.layers:
            advice = "let layers be removed too, by layers=True or without --keep-layers"
        return (
            f"budget cannot be met, got {goal.budget:g}: no merge makes this model cheaper in "
            f"{goal.objective}, whatever the ratio allows to drop; {advice}"
        )
    removed = " and every layer removed" if goal.ranking.layers else ""
    return (
        f"budget must be at least {math.ceil(100 * least) / 100:.2f} for this model and ratio, got "
        f"{goal.budget:g}: with every activation dropped{removed} that helps, the merged network "
        f"has {least:.0%} of the original's {goal.objective}"
    )
