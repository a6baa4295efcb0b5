"""What a person sees of a sweep: sentence, table, figure, page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from proprelu.sweep import SweepResults
from proprelu.sweep.costs import Costs
from proprelu.sweep.training import Run
from proprelu.sweep.variants import Variant
from proprelu.train import History

BASELINE = Variant("1:1", "last", (True,) * 4, 4, 4)
HALF = Variant("2:1", "last", (False, True) * 2, 4, 2, ("2:1 back",))
THIRD = Variant("4:1", "<last>", (False, False, False, True), 4, 1)
COSTS = {
    BASELINE: Costs(1000, 500, 3.0),
    HALF: Costs(900, 400, 2.0),
    THIRD: Costs(None, 300, 1.0),
}


def a_run(variant: Variant, seed: int, top1: float | None, loss: float = 0.5) -> Run:
    rows = tuple(
        dict.fromkeys(History.columns)
        | {
            "epoch": epoch,
            "val_top1": None if top1 is None else top1 - 0.1 * (3 - epoch),
            "val_loss": loss + 0.1 * (3 - epoch),
            "images_per_s": 100.0,
        }
        for epoch in (1, 2, 3)
    )
    train = None if top1 is None else top1 + 0.02
    return Run(variant, seed, rows, loss, top1, loss - 0.1, train, 10.0, 2)


def made_up(**accuracies: list[float]) -> SweepResults:
    """Results with the accuracies of each variant, by seed."""
    variants = {"base": BASELINE, "half": HALF, "third": THIRD}
    runs = [
        a_run(variants[name], seed, value)
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    used = tuple(variants[name] for name in accuracies)
    settings = {"model": "Net", "epochs": 3, "data": {"images": 10}, "optimizer": [{"lr": 0.1}]}
    costs = {variant: COSTS[variant] for variant in used}
    return SweepResults(settings, used, tuple(runs), costs, target=0.8)


BASE = [0.90, 0.91, 0.89, 0.92, 0.90]
BETTER = [value + 0.02 + 0.001 * (i % 2) for i, value in enumerate(BASE)]
WORSE = [value - 0.003 - 0.001 * (i % 2) for i, value in enumerate(BASE)]
NOISY = [0.91, 0.90, 0.90, 0.915, 0.905]


def test_a_better_ratio_is_named_with_its_evidence() -> None:
    best = made_up(base=BASE, half=BETTER, third=WORSE).best()
    assert (best.ratio, best.placement, best.keep) == ("2:1", "last", HALF.keep)
    assert best.sentence == (
        "2:1 last keeps 2 of 4 ReLUs, gains 2.04 points (95% over 2 comparisons: 1.95 to 2.13) "
        "and, merged, runs 1.50 times as fast."
    )


def test_without_evidence_it_is_1_to_1_and_says_so() -> None:
    best = made_up(base=BASE, half=NOISY).best()
    assert best.ratio == "1:1"
    assert "No ratio is evidently better than 1:1." in best.sentence
    assert re.search(
        r"there is no evidence of a difference \(\+0\.20 points, 95%: -0\.\d\d to \+1\.\d\d\), and "
        r"\d+ seeds would be needed to find one of this size\.$",
        best.sentence,
    )


def test_a_tolerance_takes_the_fastest_that_costs_no_more() -> None:
    results = made_up(base=BASE, half=WORSE, third=[value - 0.1 for value in WORSE])
    assert results.best().ratio == "1:1"
    assert results.best(tolerance=0.002).ratio == "1:1"
    best = results.best(tolerance=0.01)
    assert best.ratio == "2:1"
    assert "costs 0.34 points (95% over 2 comparisons: 0.25 to 0.43)" in best.sentence
    assert best.sentence.endswith("That is within the tolerance of 1.00 points.")


def test_several_ratios_need_more_evidence_than_one() -> None:
    # An interval of 95% that leaves out zero by little.
    little = [a + d for a, d in zip(BASE, [0.002, 0.010, 0.004, 0.009, 0.003], strict=True)]
    assert made_up(base=BASE, half=little).best().ratio == "2:1"
    assert made_up(base=BASE, half=little, third=WORSE).best().ratio == "1:1"


def test_losses_are_better_if_they_are_lower() -> None:
    runs = [
        a_run(variant, seed, None, loss)
        for variant, losses in ((BASELINE, [0.5, 0.6, 0.55]), (HALF, [0.4, 0.51, 0.45]))
        for seed, loss in enumerate(losses)
    ]
    results = SweepResults({}, (BASELINE, HALF), tuple(runs), {})
    assert results.measure == "loss"
    assert results.best().ratio == "2:1"
    assert "lowers the loss by 0.0967 (95%: 0.0823 to 0.1110)" in results.best().sentence
    assert "loss" in results.table().columns


def test_the_table() -> None:
    results = made_up(base=BASE, half=BETTER)
    table = results.table()
    base, half = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert (base["ratio"], base["difference to 1:1"], base["95% interval"]) == ("1:1", "-", "-")
    assert half["ReLUs"] == "2"
    assert half["accuracy"] == "92.44%"
    assert half["difference to 1:1"] == "+2.04"
    assert half["95% interval"] == "+1.97 to +2.11"
    assert half["gap"] == "+2.00"
    assert half["epochs to 80.00%"] == "2"
    assert half["million MACs"] == "0.0"
    assert half["merged, ms"] == "2.00"


def test_the_target_is_the_median_over_seeds() -> None:
    results = made_up(base=BASE)
    assert results.summaries[0].epochs_to_target == 2
    assert replace(results, target=0.99).summaries[0].epochs_to_target is None
    assert replace(results, target=None).summaries[0].epochs_to_target is None


def test_no_finished_run_is_refused_in_one_line(tmp_path: Path) -> None:
    empty = SweepResults({}, (BASELINE,), (), {})
    assert str(empty)
    for call in (empty.best, empty.plot, lambda: empty.report(tmp_path / "a.html")):
        with pytest.raises(ValueError, match="no run"):
            call()
    assert not list(tmp_path.iterdir())


def test_it_is_written_as_csv(tmp_path: Path) -> None:
    made_up(base=BASE, half=BETTER).to_csv(tmp_path / "a.csv")
    head, *lines = (tmp_path / "a.csv").read_text().splitlines()
    assert head.startswith("ratio,ReLUs,seeds,accuracy")
    assert len(lines) == 2


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_figure_is_drawn(tmp_path: Path, suffix: str) -> None:
    figure = made_up(base=BASE, half=BETTER, third=WORSE).plot(tmp_path / f"a{suffix}")
    left, right = figure.axes
    labels = [label.get_text() for label in left.get_xticklabels()]
    assert labels == ["1:1", "2:1\nlast", "4:1\n<last>"]
    assert "latency" in right.get_xlabel()
    assert (tmp_path / f"a{suffix}").stat().st_size > 5000


class _Page(HTMLParser):
    """Collects the tags of a page and its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)


def test_the_page_needs_no_network_and_shows_everything(tmp_path: Path) -> None:
    results = made_up(base=BASE, half=BETTER, third=WORSE)
    results.report(tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    page = _Page(text)
    links = [attrs.get("href") or attrs.get("src") for _, attrs in page.tags]
    assert all(link.startswith(("#", "data:")) for link in links if link)
    anchors = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {str(link)[1:] for link in links if link and link.startswith("#")} <= anchors
    words = " ".join(page.words)
    for part in (results.best().sentence, "4:1 <last>", "Settings", "2:1 back", "lr 0.1"):
        assert part in words
    charts = [attrs["id"] for _, attrs in page.tags if attrs.get("class") == "chart"]
    names = ("accuracy", "difference", "curves", "gap", "latency")
    assert charts == [f"chart-{name}" for name in names]
    specs = json.loads(text.split("const specs = ")[1].split(";\nconst options")[0])
    assert list(specs) == list(names)
    assert all(spec["width"] == "container" for spec in specs.values())


def test_the_page_of_one_seed_without_costs(tmp_path: Path) -> None:
    results = replace(made_up(base=BASE[:1], half=BETTER[:1]), costs={})
    results.report(tmp_path / "a.html")
    assert "One seed cannot show" in (tmp_path / "a.html").read_text(encoding="utf-8")
