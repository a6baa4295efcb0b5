"""Which runs are made, in which order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from proprelu.sweep.training import Task
from proprelu.sweep.variants import Variant

__all__ = ["check_budget", "rounds"]


def check_budget(variants: Sequence[Variant], budget: int) -> None:
    """Raise a ``ValueError`` if a budget does not suffice for one run of each variant."""
    if budget < len(variants):
        raise ValueError(
            f"budget must be at least {len(variants)}, one run for each variant, got {budget}"
        )


def rounds(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    budget: int | None,
    score: Callable[[Variant, Sequence[int]], float],
) -> Iterator[list[Task]]:
    """The runs, round by round; a round may depend on the results of those before.

    Without a budget there is one round, with every seed of each variant. With a budget it is
    sequential halving: each round shares its part of the budget among the variants that are left,
    and the worse half of them is left out then. The baseline, the first variant, stays, because
    the others are compared with it.

    Args:
        variants: the baseline, and the others.
        seeds: the most that each variant gets, in this order.
        budget: the number of runs in all.
        score: how good a variant is with some seeds; called after their runs.

    Reference:
        Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013.
    """
    if budget is None:
        yield _tasks(variants, seeds)
        return
    baseline, left = variants[0], list(variants[1:])
    count = max(1, math.ceil(math.log2(max(1, len(left)))))
    begin = spent = 0
    for number in range(count):
        share = (budget - spent) // (count - number)
        size = max(1 if begin == 0 else 0, share // (1 + len(left)))
        end = min(len(seeds), begin + size)
        tasks = _tasks([baseline, *left], seeds[begin:end])
        spent += len(tasks)
        begin = end
        yield tasks
        ranked = sorted(left, key=lambda each: score(each, seeds[:end]), reverse=True)
        left = ranked[: math.ceil(len(ranked) / 2)]


def _tasks(variants: Sequence[Variant], seeds: Sequence[int]) -> list[Task]:
    """Seed by seed, so that pairs are complete early."""
    return [Task(variant, seed) for seed in seeds for variant in variants]
