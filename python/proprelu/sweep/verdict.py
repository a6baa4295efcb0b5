"""Which ratio to take, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proprelu.sweep.statistics import Difference
from proprelu.sweep.summary import Summary
from proprelu.sweep.variants import Variant

__all__ = ["Verdict", "evidence", "verdict"]


@dataclass(frozen=True)
class Verdict:
    """A ratio to take, with its evidence.

    Attributes:
        ratio: such as ``"2:1"``; ``"1:1"`` if nothing better is evident.
        placement: which activations of it are kept.
        keep: for each activation, whether it is kept; ``convert(model, "1:1", keep)`` applies it.
        sentence: why, in words.
    """

    ratio: str
    placement: str
    keep: tuple[bool, ...]
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def verdict(summaries: Sequence[Summary], tolerance: float, measure: str) -> Verdict:
    """Choose a variant.

    Args:
        summaries: those of all variants, the baseline first.
        tolerance: the loss of accuracy that is accepted for speed.
        measure: ``"top1"``, or ``"loss"``, of which less is better.
    """
    baseline, others = summaries[0], summaries[1:]
    compared = [each for each in others if each.adjusted is not None]
    better = [each for each in compared if _gain(each.adjusted, measure)[1] > 0]
    if better:
        best = max(better, key=lambda each: _gain(each.adjusted, measure)[0])
        return _verdict(best.variant, evidence(best, baseline, measure))
    if tolerance > 0:
        near = [each for each in compared if _gain(each.adjusted, measure)[1] >= -tolerance]
        faster = [each for each in near if (_speed(each, baseline) or 0) > 1]
        if faster:
            best = max(faster, key=lambda each: _speed(each, baseline) or 0)
            return _verdict(best.variant, evidence(best, baseline, measure))
    if not compared:
        text = "There is nothing to compare with 1:1."
    elif all(len(each.seeds) < 2 for each in compared):
        text = "One seed cannot show whether a ratio is better than 1:1: other seeds differ, too."
    else:
        text = "No ratio is evidently better than 1:1."
        nearest = max(compared, key=lambda each: _gain(each.difference, measure)[0])
        text += f" {evidence(nearest, baseline, measure)}"
    return _verdict(baseline.variant, text)


def evidence(summary: Summary, baseline: Summary, measure: str) -> str:
    """What a variant keeps, gains or loses, and how fast it is, in a sentence."""
    variant, difference = summary.variant, summary.difference
    text = f"{variant.name} keeps {sum(variant.keep)} of {len(variant.keep)} ReLUs"
    speed = _speed(summary, baseline)
    fast = "" if speed is None else f" and, merged, runs {speed:.2f} times as fast"
    if difference is not None and difference.is_evident:
        return f"{text}, {_change(difference, measure)}{fast}."
    return f"{text}{fast}; {_doubt(difference, measure)}."


def _verdict(variant: Variant, sentence: str) -> Verdict:
    return Verdict(variant.ratio, variant.placement, variant.keep, sentence)


def _gain(difference: Difference | None, measure: str) -> tuple[float, float]:
    """The mean gain, and the least that the interval holds; without one the least is unknown."""
    worst = float("-inf")
    if difference is None:
        return worst, worst
    if measure == "loss":
        return -difference.mean, worst if difference.high is None else -difference.high
    return difference.mean, worst if difference.low is None else difference.low


def _change(difference: Difference, measure: str) -> str:
    """``costs 0.30 points (95%: 0.10 to 0.50)``."""
    assert difference.low is not None
    assert difference.high is not None
    costs = (difference.mean > 0) == (measure == "loss")
    least, most = sorted((abs(difference.low), abs(difference.high)))
    interval = f"95%: {_amount(least, measure)} to {_amount(most, measure)}"
    mean = _amount(abs(difference.mean), measure)
    return f"{'costs' if costs else 'gains'} {mean} {_unit(measure)} ({interval})"


def _doubt(difference: Difference | None, measure: str) -> str:
    """Why a difference is not evident."""
    if difference is None:
        return "it was not compared"
    mean = f"{_amount(difference.mean, measure, '+')} {_unit(measure)}"
    if difference.low is None or difference.high is None:
        seeds = "one seed" if difference.pairs == 1 else f"{difference.pairs} seeds, all alike"
        return f"the difference is {mean}, of {seeds}, without an interval"
    low, high = _amount(difference.low, measure, "+"), _amount(difference.high, measure, "+")
    needed = difference.seeds_needed
    more = "more than 1,000 seeds" if needed is None else f"{needed} seeds"
    return (
        f"there is no evidence of a difference ({mean}, 95%: {low} to {high}), and {more} would be "
        "needed to find one of this size"
    )


def _amount(value: float, measure: str, sign: str = "") -> str:
    return f"{value:{sign}.4f}" if measure == "loss" else f"{100 * value:{sign}.2f}"


def _unit(measure: str) -> str:
    return "of loss" if measure == "loss" else "points"


def _speed(summary: Summary, baseline: Summary) -> float | None:
    """How many times as fast as the baseline, both merged."""
    if summary.costs is None or baseline.costs is None:
        return None
    return baseline.costs.milliseconds / summary.costs.milliseconds
