"""The sentence of a sweep in all its cases."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import scipy.stats
from proprelu.sweep import SweepResults
from proprelu.sweep.training import Run
from test_report import BASE, BASELINE, BETTER, HALF, THIRD, a_run, made_up

DIVERGED = "the loss became NaN in step 2 (epoch 1)"


def of_losses(base: list[float | None], half: list[float | None]) -> SweepResults:
    """Results of a regression; None is the loss of a run that diverged."""
    runs = []
    for variant, losses in ((BASELINE, base), (HALF, half)):
        for seed, loss in enumerate(losses):
            run = a_run(variant, seed, None, loss or 0.0)
            runs.append(run if loss is not None else diverged(run))
    return SweepResults({}, (BASELINE, HALF), tuple(runs), {})


def diverged(run: Run) -> Run:
    top1 = None if run.val_top1 is None else 0.0
    return replace(run, rows=(), val_loss=None, val_top1=top1, train_loss=None, note=DIVERGED)


def test_the_interval_of_the_sentence_is_the_one_that_decides() -> None:
    # Evident alone, and not among two: the sentence must not call it a gain.
    little = [a + d for a, d in zip(BASE, [0.002, 0.010, 0.004, 0.009, 0.003], strict=True)]
    results = made_up(base=BASE, half=little, third=[value - 0.05 for value in BETTER])
    _, half, _ = results.summaries
    assert half.difference is not None
    assert half.difference.is_evident
    sentence = results.best().sentence
    low, high = scipy.stats.ttest_rel(little, BASE).confidence_interval(1 - 0.05 / 2)
    assert "gains" not in sentence
    assert f"(+0.56 points, 95% over 2 comparisons: {100 * low:+.2f} to {100 * high:+.2f})" in (
        sentence
    )
    assert half.adjusted is not None
    assert half.adjusted.seeds_needed is not None
    assert half.adjusted.seeds_needed > 5


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ({"base": BASE}, "There is nothing to compare with 1:1."),
        ({"base": BASE[:1], "half": BETTER[:1]}, "other seeds differ too; take five or more."),
        ({"base": BASE, "half": BASE}, "; none of 5 seeds shows a difference."),
        (
            {"base": [0.5, 0.75], "half": [0.625, 0.875]},
            "; the difference is +12.50 points for each of 2 seeds, which is too uniform for an "
            "interval.",
        ),
        ({"base": BASE, "half": [a - 0.1 for a in BETTER]}, "2 of 4 ReLUs, costs 7.96 points (95%"),
    ],
)
def test_why_it_is_1_to_1(accuracies: dict[str, list[float]], words: str) -> None:
    best = made_up(**accuracies).best()
    assert best.ratio == "1:1"
    assert words in best.sentence


def test_a_ratio_that_was_left_out_early_is_not_the_nearest() -> None:
    noisy = [value + d for value, d in zip(BASE, (0.01, -0.01, 0.002, -0.003, 0), strict=True)]
    sentence = made_up(base=BASE, half=noisy, third=[0.99]).best().sentence
    assert sentence.startswith("No ratio is evidently better than 1:1. 2:1 last keeps")


def test_runs_that_diverge_are_counted_and_named() -> None:
    results = made_up(base=BASE, half=BETTER)
    runs = (*results.runs[:-1], diverged(results.runs[-1]))
    results = replace(results, runs=runs)
    assert results.best().sentence.endswith("1 of 10 runs diverged; try a lower learning rate.")
    # It counts with the accuracy that it had.
    assert results.summaries[1].mean == pytest.approx(sum(BETTER[:-1]) / 5)
    assert str(results).endswith(f"2:1 last, seed 4: {DIVERGED}")
    assert DIVERGED in results._repr_html_()


@pytest.mark.parametrize(
    ("base", "half"),
    [
        ([0.5, 0.6, 0.55], [0.4, None, 0.45]),
        ([0.5, None, 0.55], [0.4, 0.5, 0.45]),
        ([None, None], [None, None]),
    ],
)
def test_a_loss_that_is_not_finite_has_no_interval(
    tmp_path: Path, base: list[float | None], half: list[float | None]
) -> None:
    results = of_losses(base, half)
    assert results.summaries[1].difference is None
    assert any(math.isinf(summary.mean) for summary in results.summaries)
    best = results.best()
    assert best.ratio == "1:1"
    assert best.sentence.startswith("No ratio can be compared with 1:1.")
    assert "diverged" in best.sentence
    assert "inf" in str(results)
    results.plot(tmp_path / "a.png")
    results.report(tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    specs = text.split("const specs = ")[1].split(";\nconst options")[0]
    json.loads(specs, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_ratio_in_the_reach_of_all_runs_is_taken_among_others() -> None:
    assert made_up(base=BASE, half=BASE, third=BETTER).best().ratio == THIRD.ratio
