"""Which runs a budget makes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from proprelu.sweep.halving import check_budget, rounds
from proprelu.sweep.variants import Variant

VARIANTS = [Variant(f"{i}:1", "last", (True,) * 5 + (False,) * i, 9, 5) for i in range(9)]


def by_number(variant: Variant, seeds: Sequence[int]) -> float:
    return len(variant.keep)


def test_without_a_budget_every_variant_gets_every_seed() -> None:
    (tasks,) = rounds(VARIANTS, [3, 4], None, by_number)
    assert {(task.variant, task.seed) for task in tasks} == {
        (variant, seed) for variant in VARIANTS for seed in (3, 4)
    }


@pytest.mark.parametrize("budget", [9, 17, 40, 1000])
def test_a_budget_is_not_exceeded_and_the_best_gets_the_most_seeds(budget: int) -> None:
    seeds = list(range(8))
    every = list(rounds(VARIANTS, seeds, budget, by_number))
    made = [(task.variant, task.seed) for tasks in every for task in tasks]
    assert len(made) == len(set(made)) <= budget
    assert {variant for variant, _ in made} == set(VARIANTS)
    counts = [sum(variant == each for each, _ in made) for variant in VARIANTS]
    # The best, and the baseline, with which it is compared.
    assert counts[0] == counts[-1] == max(counts)
    # A variant with a seed has all seeds before it, so that all can be compared in pairs.
    for variant in VARIANTS:
        own = sorted(seed for each, seed in made if each == variant)
        assert own == seeds[: len(own)]


def test_the_worse_half_is_left_out_after_each_round() -> None:
    every = [list(tasks) for tasks in rounds(VARIANTS, list(range(20)), 120, by_number)]
    left = [{task.variant for task in tasks} - {VARIANTS[0]} for tasks in every]
    assert [len(variants) for variants in left] == [8, 4, 2]
    assert left[-1] == set(VARIANTS[-2:])


def test_a_score_sees_only_finished_runs() -> None:
    finished: set[tuple[Variant, int]] = set()

    def score(variant: Variant, seeds: Sequence[int]) -> float:
        assert all((variant, seed) in finished for seed in seeds)
        return len(variant.keep)

    for tasks in rounds(VARIANTS, list(range(5)), 30, score):
        finished |= {(task.variant, task.seed) for task in tasks}


def test_a_budget_must_reach_for_one_run_each() -> None:
    check_budget(VARIANTS, 9)
    with pytest.raises(ValueError, match="budget must be at least 9"):
        check_budget(VARIANTS, 8)


def test_one_other_variant_needs_no_halving() -> None:
    every = list(rounds(VARIANTS[:2], [0, 1, 2], 4, by_number))
    assert sum(map(len, every)) == 4
