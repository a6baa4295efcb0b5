"""What a verdict says of a variant, in words."""

from __future__ import annotations

from collections.abc import Sequence

from proprelu.sweep.statistics import Difference
from proprelu.sweep.summary import Summary

__all__ = ["Wording"]


class Wording:
    """Puts a comparison with the baseline into words.

    Args:
        baseline: what variants are compared with.
        compared: the number of variants that are compared with it.
        measure: ``"top1"``, or ``"loss"``, of which less is better.
    """

    def __init__(self, baseline: Summary, compared: int, measure: str) -> None:
        self._baseline = baseline
        self._of_loss = measure == "loss"
        # The interval of a decision among several is wider than that of each alone.
        self._confidence = "95%" if compared < 2 else f"95% over {compared} comparisons"

    def evidence(self, summary: Summary) -> str:
        """What a variant keeps, gains or loses, and how fast it is, in a sentence."""
        variant, difference = summary.variant, summary.adjusted
        text = f"{variant.name} keeps {sum(variant.keep)} of {len(variant.keep)} ReLUs"
        speed = summary.times_as_fast(self._baseline)
        fast = "" if speed is None else f" and, merged, runs {speed:.2f} times as fast"
        if difference is not None and difference.is_evident:
            return f"{text}, {self._change(difference)}{fast}."
        return f"{text}{fast}; {self._doubt(difference)}."

    def within(self, tolerance: float) -> str:
        """That a tolerance is kept, in a sentence."""
        points = "" if self._of_loss else " points"
        return f"That is within the tolerance of {self._amount(tolerance)}{points}."

    def diverged(self, summaries: Sequence[Summary]) -> list[str]:
        """How many runs diverged, in a sentence; none if none did."""
        runs = sum(len(each.seeds) for each in summaries)
        count = sum(len(each.notes) for each in summaries)
        return [f"{count} of {runs} runs diverged; try a lower learning rate."] if count else []

    def _change(self, difference: Difference) -> str:
        """``costs 0.30 points (95%: 0.10 to 0.50)``."""
        assert difference.low is not None
        assert difference.high is not None
        least, most = sorted((abs(difference.low), abs(difference.high)))
        interval = f"({self._confidence}: {self._amount(least)} to {self._amount(most)})"
        mean, rises = self._amount(abs(difference.mean)), difference.mean > 0
        if self._of_loss:
            return f"{'raises' if rises else 'lowers'} the loss by {mean} {interval}"
        return f"{'gains' if rises else 'costs'} {mean} points {interval}"

    def _doubt(self, difference: Difference | None) -> str:
        """Why a difference is not evident."""
        if difference is None:
            return "it was not compared"
        mean = self._amount(difference.mean, "+")
        mean = f"{mean} of loss" if self._of_loss else f"{mean} points"
        if difference.low is None or difference.high is None:
            if difference.pairs == 1:
                return f"one seed gives a difference of {mean} and no interval"
            if difference.mean == 0:
                return f"none of {difference.pairs} seeds shows a difference"
            return (
                f"the difference is {mean} for each of {difference.pairs} seeds, which is too "
                "uniform for an interval"
            )
        low, high = self._amount(difference.low, "+"), self._amount(difference.high, "+")
        needed = difference.seeds_needed
        more = "more than 1,000 seeds" if needed is None else f"{needed} seeds"
        return (
            f"there is no evidence of a difference ({mean}, {self._confidence}: {low} to {high}), "
            f"and {more} would be needed to find one of this size"
        )

    def _amount(self, value: float, sign: str = "") -> str:
        return f"{value:{sign}.4f}" if self._of_loss else f"{100 * value:{sign}.2f}"
