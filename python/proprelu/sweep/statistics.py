"""Statistics of paired runs. Needs the extra ``sweep`` (SciPy)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Difference",
    "mean_and_deviation",
    "mean_interval",
    "need_scipy",
    "paired_difference",
    "seeds_to_settle",
]

CONFIDENCE = 0.95
# The probability with which a true difference of the observed size would be found.
_POWER = 0.8
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, with its confidence interval.

    Attributes:
        mean: the mean difference.
        deviation: the standard deviation of the differences; None of a single pair.
        low: the lower end of the interval; None where there is none.
        high: the upper end.
        pairs: the number of pairs.
        seeds_needed: with so many pairs a true difference of this mean and deviation would be found
            in 80% of all cases; None where this cannot be estimated.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    pairs: int
    seeds_needed: int | None

    @property
    def is_evident(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired_difference(
    values: Sequence[float], others: Sequence[float], confidence: float = CONFIDENCE
) -> Difference:
    """How much ``values`` are above ``others``, pair by pair, by Student's t distribution.

    There is no interval where all differences are equal, which happens with few pairs of rounded
    accuracies: their deviation would be zero, and any difference evident.

    Args:
        values: one for each pair.
        others: likewise, in the same order.
        confidence: of the interval.

    Raises:
        ValueError: no pairs, or of different length; a value is not finite.
        ImportError: SciPy is not installed.

    Example:
        >>> found = paired_difference([0.92, 0.91, 0.93], [0.90, 0.90, 0.90])
        >>> round(found.mean, 4), found.is_evident
        (0.02, False)
    """
    differences = [a - b for a, b in zip(values, others, strict=True)]
    if not differences:
        raise ValueError("values must hold at least one pair")
    if not all(map(math.isfinite, differences)):
        raise ValueError(f"values must be finite, got differences of {differences}")
    count, mean = len(differences), statistics.fmean(differences)
    if count < 2:
        return Difference(mean, None, None, None, count, None)
    deviation = statistics.stdev(differences)
    if max(differences) - min(differences) <= 1e-9 * max(map(abs, differences), default=0.0):
        return Difference(mean, 0.0, None, None, count, None)
    reach = _quantile(confidence, count) * deviation / math.sqrt(count)
    needed = seeds_to_settle(mean, deviation, confidence)
    return Difference(mean, deviation, mean - reach, mean + reach, count, needed)


def seeds_to_settle(mean: float, deviation: float, confidence: float = CONFIDENCE) -> int | None:
    """The pairs with which a true difference of this size would probably be found.

    Args:
        mean: the true mean of the differences.
        deviation: their true standard deviation, above 0.
        confidence: of the interval that has to leave out zero.

    Returns:
        The least number with a power of 80%; None if it is above 1,000.
    """
    stats = need_scipy()
    size = abs(mean) / deviation
    # The power rises with the number of pairs.
    below, enough = 1, _MOST_SEEDS + 1
    while enough - below > 1:
        count = (below + enough) // 2
        shift = size * math.sqrt(count)
        found = stats.nct.sf(_quantile(confidence, count), count - 1, shift)
        below, enough = (below, count) if found >= _POWER else (count, enough)
    return enough if enough <= _MOST_SEEDS else None


def mean_interval(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The 95% confidence interval of a mean; there is none of one value, or of infinite ones."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None, None
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    reach = _quantile(CONFIDENCE, len(values)) * deviation / math.sqrt(len(values))
    return mean - reach, mean + reach


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the standard deviation, which one value and infinite ones do not have."""
    mean = statistics.fmean(values)
    return mean, statistics.stdev(values) if len(values) > 1 and math.isfinite(mean) else None


def need_scipy() -> Any:
    """SciPy's statistics.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import scipy.stats
    except ImportError:
        raise ImportError(
            "a sweep needs SciPy, which is not installed: pip install 'proprelu[sweep]'"
        ) from None
    return scipy.stats


def _quantile(confidence: float, count: int) -> float:
    """How many standard errors an interval reaches to each side."""
    return float(need_scipy().t.ppf((1 + confidence) / 2, count - 1))
