"""What does a network lose when it becomes faster? Rules for depth compression, compared.

A small MobileNetV2 is trained on Fashion-MNIST at 1:1. Then each rule chooses what it loses so that
the merged network meets a budget of latency, and it trains the same number of extra epochs while
that goes. For comparison: the network that loses nothing, and ratios by placement alone. Each
finished training is stored in the JSON file, and a call runs those that are missing. In the end the
merged networks are timed, in turn. The page is docs/results/merge.md.

    python benches/depth.py --seeds 3
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness import page
from harness.arguments import chosen_one, training_parser
from harness.store import Store
from proprelu.figures import COLORS, drawing_style, new_figure, save_figure
from proprelu.merge.measured import medians
from works.depth import BATCH, WAYS, Trainings, Way, example, merged_as
from works.recipe import Pretrained, Training, with_options
from works.rules import RULES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Networks are timed in turn so often; what counts is the median.
_ROUNDS = 5


def main() -> None:
    options = training_parser(__doc__, "depth", seeds=3)
    options.add_argument("--extra-epochs", type=int, help="epochs of each way after --epochs")
    args = options.parse_args()
    ways = chosen_one(options, args, WAYS)
    settings = {name: getattr(args, name) for name in ("epochs", "extra_epochs", "limit")}
    recipe = Pretrained(model="a small MobileNetV2", lr=0.1)
    store = Store(args.json, with_options(recipe, **settings))
    left_out = store.complete(ways, args.seeds, Trainings().train)
    _time(store)
    header = (
        "way | seeds: | latency, ms: | of the original's: | million MACs: | test accuracy, mean: | "
        "deviation: | each"
    )
    table = page.table(header, _rows(store))
    picture = args.table.with_suffix(".svg")
    _draw(store, picture)
    page.write(
        args.table,
        "Faster by losing activations and layers",
        "What a network loses when it becomes faster: test accuracy and latency of merged "
        "networks, by the rule that chose what goes. Written by `benches/depth.py`.",
        f"![Accuracy against latency]({picture.name})\n\n{table}",
        _how(store),
        " ".join(
            [
                "The differences between seeds are the measure for those between rules: a "
                "difference of means that is below the deviation says nothing. The rules of other "
                "papers are our reading of them, without their training recipes: EraseReLU drops "
                "the last activation of each block, one block after the other, and then the one "
                "before; DepthShrinker trains a mask of blocks with the weights for one epoch. "
                "Their first choice within the budget is taken, so that some are faster than it "
                "asks. What they drop is chosen without regard to merging. A plan is timed as a "
                "whole, and made again until it meets the budget; another measurement of the same "
                "network differs a little, so ways are to be compared at equal latency.",
                *left_out,
            ]
        ),
        f"depth.py --seeds {store.seeds(WAYS)} {store.recipe.options()}",
    )
    print(table)


def _time(store: Store[Pretrained]) -> None:
    """Note the latency of each network; networks take turns, so that all are disturbed alike."""
    every = [training for way in WAYS for training in store.of(way).values()]
    by_choice: dict[str, list[Training]] = {}
    for training in every:
        by_choice.setdefault(f"{training['keep']} {training['removed']}", []).append(training)
    networks = [merged_as(trainings[0]) for trainings in by_choice.values()]
    rounds = [medians(networks, (example(),)) for _ in range(_ROUNDS)]
    for trainings, times in zip(by_choice.values(), zip(*rounds, strict=True), strict=True):
        for training in trainings:
            training["milliseconds"] = statistics.median(times)
    store.save()


def _rows(store: Store[Pretrained]) -> Iterator[tuple[object, ...]]:
    originals = list(store.of(WAYS[0]).values())
    for way in WAYS:
        trainings = list(store.of(way).values())
        if trainings:
            time = _milliseconds(trainings)
            macs = statistics.mean(training["macs"] for training in trainings) / 1e6
            yield (
                way.name,
                len(trainings),
                f"{time:.2f}",
                f"{time / _milliseconds(originals):.0%}" if originals else "-",
                f"{macs:.2f}",
                *page.accuracies(trainings),
            )


def _milliseconds(trainings: list[Training]) -> float:
    return statistics.mean(training["milliseconds"] for training in trainings)


def _draw(store: Store[Pretrained], path: Path) -> None:
    """Accuracy against latency: a color for each rule, small points for seeds."""
    groups: dict[str, list[Way]] = {"stays at 1:1": [WAYS[0]]}
    for rule in RULES:
        groups[rule.name] = [way for way in WAYS if way.rule is rule]
    groups["ratio 3:2, 2:1, 3:1"] = [way for way in WAYS[1:] if way.rule is None]
    with drawing_style():
        figure = new_figure(8, 4.6)
        axes = figure.add_subplot()
        for color, (name, ways) in zip(("#333333", *COLORS), groups.items(), strict=False):
            found = [list(store.of(way).values()) for way in ways]
            if any(found):
                _draw_group(axes, color, name, [trainings for trainings in found if trainings])
        axes.set_xlabel(f"latency of a batch of {BATCH}, ms")
        axes.set_ylabel("test accuracy, %")
        axes.set_title("What a network loses when it becomes faster")
        axes.legend(loc="lower right", fontsize=8)
        save_figure(figure, path)


def _draw_group(axes: Axes, color: str, name: str, ways: list[list[Training]]) -> None:
    points = sorted(
        (_milliseconds(t), 100 * statistics.mean(x["epochs"][-1]["top1"] for x in t)) for t in ways
    )
    axes.plot(*zip(*points, strict=True), "o-", color=color, label=name, linewidth=1.2)
    for training in (training for way in ways for training in way):
        top1 = 100 * training["epochs"][-1]["top1"]
        axes.plot(training["milliseconds"], top1, ".", color=color, markersize=4, alpha=0.5)


def _how(store: Store[Pretrained]) -> str:
    recipe = store.recipe
    return (
        f"First {recipe.text()}; then each way trains {recipe.extra_epochs} epochs more, one cycle "
        f"up to a rate of {recipe.extra_lr:g}, and what goes turns linear in the first "
        f"{recipe.anneal:.0%} of these epochs; layers are removed at their start. Latency: a batch "
        f"of {BATCH} in fp32 on all cores, median, networks in turn, the original merged as well "
        "(its batch norms are folded). The budget is a part of that. Training in bf16, on "
        f"{page.where(store.torch_version())}."
    )


if __name__ == "__main__":
    main()
