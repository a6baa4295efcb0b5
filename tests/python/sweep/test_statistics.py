"""The statistics of paired runs, on made-up results with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from proprelu.sweep.statistics import (
    mean_and_deviation,
    mean_interval,
    paired_difference,
    seeds_to_settle,
)

PAIRS = 5
TRIALS = 2000


def made_up(difference: float, rng: np.random.Generator) -> tuple[list[float], list[float]]:
    """Accuracies that share what a seed does, with a difference and noise of their own."""
    seeds = rng.normal(0.9, 0.02, PAIRS)
    ours = seeds + difference + rng.normal(0, 0.003, PAIRS)
    return ours.tolist(), (seeds + rng.normal(0, 0.003, PAIRS)).tolist()


def test_the_interval_of_equal_means_covers_zero_in_95_percent_of_all_cases() -> None:
    rng = np.random.default_rng(0)
    found = [paired_difference(*made_up(0.0, rng)) for _ in range(TRIALS)]
    covered = sum(not difference.is_evident for difference in found) / TRIALS
    # Four standard errors of a share of 95%.
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / TRIALS)


def test_the_interval_covers_a_planted_difference_and_finds_it() -> None:
    rng = np.random.default_rng(1)
    found = [paired_difference(*made_up(0.02, rng)) for _ in range(200)]
    assert all(difference.is_evident for difference in found)
    assert all(difference.mean > 0 for difference in found)
    covered = [d.low <= 0.02 <= d.high for d in found if d.low is not None and d.high is not None]
    assert sum(covered) / len(covered) > 0.9


def test_pairs_find_what_means_alone_would_not() -> None:
    ours, theirs = made_up(0.01, np.random.default_rng(2))
    assert paired_difference(ours, theirs).is_evident
    assert not paired_difference(ours, [theirs[(i + 1) % PAIRS] for i in range(PAIRS)]).is_evident


def test_the_interval_is_that_of_students_t() -> None:
    import scipy.stats

    ours, theirs = [0.91, 0.94, 0.90, 0.95], [0.90, 0.90, 0.91, 0.92]
    found = paired_difference(ours, theirs)
    expected = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low)
    assert found.high == pytest.approx(expected.high)


def test_a_higher_confidence_has_a_wider_interval() -> None:
    ours, theirs = made_up(0.0, np.random.default_rng(3))
    narrow, wide = (paired_difference(ours, theirs, confidence) for confidence in (0.95, 0.99))
    assert narrow.low is not None
    assert wide.low is not None
    assert wide.low < narrow.low


def test_one_pair_has_no_interval() -> None:
    found = paired_difference([0.9], [0.8])
    assert (found.low, found.high, found.seeds_needed) == (None, None, None)
    assert found.mean == pytest.approx(0.1)
    assert not found.is_evident


@pytest.mark.parametrize("difference", [0.0, 0.01])
def test_equal_differences_are_no_evidence(difference: float) -> None:
    theirs = [0.5, 0.75, 0.625]
    found = paired_difference([value + difference for value in theirs], theirs)
    assert found.low is None
    assert not found.is_evident


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        paired_difference([], [])


@pytest.mark.parametrize("size", [0.3, 1.0, 2.5])
def test_so_many_seeds_find_the_difference_in_80_percent_of_all_cases(size: float) -> None:
    count = seeds_to_settle(size, 1.0)
    assert count is not None
    rng = np.random.default_rng(4)
    draws = rng.normal(size, 1.0, (TRIALS, count)).tolist()
    evident = sum(paired_difference(draw, [0.0] * count).is_evident for draw in draws) / TRIALS
    assert evident > 0.77
    if count > 3:
        fewer = [paired_difference(d[: count - 2], [0.0] * (count - 2)).is_evident for d in draws]
        assert sum(fewer) / TRIALS < 0.82


def test_a_tiny_difference_cannot_be_settled() -> None:
    assert seeds_to_settle(1e-6, 1.0) is None
    assert seeds_to_settle(0.0, 1.0) is None


def test_means() -> None:
    assert mean_and_deviation([0.5]) == (0.5, None)
    mean, deviation = mean_and_deviation([0.4, 0.6])
    assert mean == pytest.approx(0.5)
    assert deviation == pytest.approx(math.sqrt(0.02))
    assert mean_interval([0.5]) == (None, None)
    low, high = mean_interval([0.4, 0.5, 0.6])
    assert low == pytest.approx(0.5 - 0.2484, abs=1e-4)
    assert high == pytest.approx(0.5 + 0.2484, abs=1e-4)
