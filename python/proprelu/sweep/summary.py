"""What the runs of each variant say together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proprelu.sweep.costs import Costs
from proprelu.sweep.statistics import (
    CONFIDENCE,
    Difference,
    mean_and_deviation,
    paired_difference,
)
from proprelu.sweep.training import Run
from proprelu.sweep.variants import Variant

__all__ = ["Summary", "default_target", "measure_of", "summaries"]


@dataclass(frozen=True)
class Summary:
    """The runs of one variant.

    Attributes:
        variant: what was trained.
        seeds: the seeds of its runs.
        values: the accuracy, or the loss, of each of them.
        mean: the mean accuracy on the validation data after the last epoch, a fraction of 1; the
            mean loss where there are no classes, infinite if that of a run is.
        deviation: its standard deviation over seeds; None of a single seed or an infinite mean.
        difference: to 1:1, paired by seeds; None for 1:1 itself, without a common seed, and if a
            loss is infinite.
        adjusted: likewise, with an interval that is wider as there are more variants: all of these
            intervals hold their true differences with 95%, not each for itself.
        gap: the mean of the training accuracy, without augmentation, less the validation accuracy;
            of losses the other way around.
        epochs_to_target: the median number of epochs after which the validation accuracy reaches
            the target; None if half of the runs or more do not.
        images_per_s: the median speed of the training.
        costs: what the network costs in use, merged; None if that was not measured.
        notes: how runs diverged, each with its seed.
    """

    variant: Variant
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    deviation: float | None
    difference: Difference | None
    adjusted: Difference | None
    gap: float | None
    epochs_to_target: float | None
    images_per_s: float | None
    costs: Costs | None
    notes: tuple[str, ...]

    def times_as_fast(self, baseline: Summary) -> float | None:
        """How many times as fast as the baseline, both merged; None if that was not measured."""
        if self.costs is None or baseline.costs is None:
            return None
        return baseline.costs.milliseconds / self.costs.milliseconds


def summaries(
    variants: Sequence[Variant],
    runs: Sequence[Run],
    costs: Mapping[Variant, Costs],
    target: float | None,
) -> list[Summary]:
    """Summarize the runs of each variant that has any.

    Args:
        variants: the baseline first.
        runs: the finished runs.
        costs: of variants.
        target: the accuracy, or the loss, that epochs are counted to.
    """
    measure = measure_of(runs)
    by_variant = {
        variant: {run.seed: run for run in runs if run.variant == variant} for variant in variants
    }
    baseline = by_variant[variants[0]]
    # The chance that any of the intervals misses is at most the sum of their chances.
    compared = sum(1 for variant in variants[1:] if by_variant[variant])
    joint = 1 - (1 - CONFIDENCE) / max(1, compared)
    found = []
    for variant, own in by_variant.items():
        if not own:
            continue
        values = {seed: _value(run, measure) for seed, run in own.items()}
        mean, deviation = mean_and_deviation(list(values.values()))
        pairs = [] if variant.is_baseline else sorted(own.keys() & baseline.keys())
        ours = [values[seed] for seed in pairs]
        theirs = [_value(baseline[seed], measure) for seed in pairs]
        comparable = bool(pairs) and all(map(math.isfinite, (*ours, *theirs)))
        speeds = [run.images_per_s for run in own.values() if run.images_per_s is not None]
        found.append(
            Summary(
                variant,
                tuple(sorted(own)),
                tuple(values[seed] for seed in sorted(own)),
                mean,
                deviation,
                paired_difference(ours, theirs) if comparable else None,
                paired_difference(ours, theirs, joint) if comparable else None,
                _gap(list(own.values()), measure),
                _epochs(list(own.values()), measure, target),
                statistics.median(speeds) if speeds else None,
                costs.get(variant),
                tuple(f"seed {seed}: {run.note}" for seed, run in own.items() if run.note),
            )
        )
    return found


def measure_of(runs: Sequence[Run]) -> str:
    """What is compared: ``"top1"``, or ``"loss"`` where there are no classes."""
    return "loss" if any(run.val_top1 is None for run in runs) else "top1"


def default_target(variants: Sequence[Variant], runs: Sequence[Run]) -> float | None:
    """What every run of the baseline reaches in its last epoch; None if there are none."""
    measure = measure_of(runs)
    values = [_value(run, measure) for run in runs if run.variant == variants[0]]
    if not values:
        return None
    return max(values) if measure == "loss" else min(values)


def _value(run: Run, measure: str) -> float:
    value = run.val_loss if measure == "loss" else run.val_top1
    # A loss that is not a number is stored as none.
    return float("inf") if value is None else value


def _gap(runs: Sequence[Run], measure: str) -> float | None:
    if measure == "loss":
        pairs = [(run.val_loss, run.train_loss) for run in runs]
    else:
        pairs = [(run.train_top1, run.val_top1) for run in runs]
    gaps = [a - b for a, b in pairs if a is not None and b is not None]
    return statistics.fmean(gaps) if gaps else None


def _epochs(runs: Sequence[Run], measure: str, target: float | None) -> float | None:
    if target is None:
        return None
    found = statistics.median(_first(run, measure, target) for run in runs)
    return None if found == float("inf") else found


def _first(run: Run, measure: str, target: float) -> float:
    """The first epoch that reaches the target; infinity if none does."""
    sign = -1 if measure == "loss" else 1
    for row in run.rows:
        value = row[f"val_{measure}"]
        if value is not None and sign * value >= sign * target:
            return row["epoch"] or 0
    return float("inf")
