"""Which ratio to take, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proprelu.sweep.statistics import Difference
from proprelu.sweep.summary import Summary
from proprelu.sweep.wording import Wording

__all__ = ["Verdict", "verdict"]


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
        tolerance: the loss of accuracy that is accepted for speed; of losses, the rise.
        measure: ``"top1"``, or ``"loss"``, of which less is better.
    """
    baseline, others = summaries[0], summaries[1:]
    compared = [each for each in others if each.adjusted is not None]
    words = Wording(baseline, len(compared), measure)
    best = _better(compared, measure)
    if best is not None:
        sentences = [words.evidence(best)]
    else:
        best = _faster(compared, baseline, tolerance, measure)
        if best is not None:
            sentences = [words.evidence(best), words.within(tolerance)]
        else:
            sentences = _no_better(compared, others, words, measure)
    chosen = (best or baseline).variant
    text = " ".join([*sentences, *words.diverged(summaries)])
    return Verdict(chosen.ratio, chosen.placement, chosen.keep, text)


def _better(compared: Sequence[Summary], measure: str) -> Summary | None:
    """The best of the variants that are evidently better than 1:1."""
    better = [each for each in compared if _gain(each.adjusted, measure)[1] > 0]
    return max(better, key=lambda each: _gain(each.adjusted, measure)[0], default=None)


def _faster(
    compared: Sequence[Summary], baseline: Summary, tolerance: float, measure: str
) -> Summary | None:
    """The fastest of the variants that cost no more than is accepted for speed."""
    if tolerance <= 0:
        return None
    near = [each for each in compared if _gain(each.adjusted, measure)[1] >= -tolerance]
    faster = [each for each in near if (each.times_as_fast(baseline) or 0) > 1]
    return max(faster, key=lambda each: each.times_as_fast(baseline) or 0, default=None)


def _no_better(
    compared: Sequence[Summary], others: Sequence[Summary], words: Wording, measure: str
) -> list[str]:
    """Why it is 1:1."""
    if not others:
        return ["There is nothing to compare with 1:1."]
    if not compared:
        return ["No ratio can be compared with 1:1."]
    if all(len(each.seeds) < 2 for each in compared):
        return [
            "One seed cannot show whether a ratio is better than 1:1, because other seeds differ "
            "too; take five or more."
        ]

    def nearest(each: Summary) -> tuple[bool, float]:
        # The mean of one seed, which a budget has left out early, says little.
        return len(each.seeds) > 1, _gain(each.adjusted, measure)[0]

    return ["No ratio is evidently better than 1:1.", words.evidence(max(compared, key=nearest))]


def _gain(difference: Difference | None, measure: str) -> tuple[float, float]:
    """The mean gain, and the least that the interval holds; without one the least is unknown."""
    worst = float("-inf")
    if difference is None:
        return worst, worst
    if measure == "loss":
        return -difference.mean, worst if difference.high is None else -difference.high
    return difference.mean, worst if difference.low is None else difference.low
