"""How does a trained network get to 2:1? At once, annealed, or annealed with distillation.

ResNet-20 is trained on Fashion-MNIST at 1:1; then each way gets the same number of extra epochs.
For comparison: the network that stays at 1:1 in these epochs, and one that is at 2:1 from the
start. Each finished training is stored in the JSON file, and a call runs those that are missing.
The page is docs/results/pretrained.md.

    python benches/pretrained.py --seeds 3
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from harness import page
from harness.arguments import chosen_one, training_parser
from harness.store import Store
from works.recipe import Pretrained, with_options
from works.ways import WAYS, Trainings


def main() -> None:
    options = training_parser(__doc__, "pretrained", seeds=3)
    options.add_argument("--extra-epochs", type=int, help="epochs of each way after --epochs")
    args = options.parse_args()
    ways = chosen_one(options, args, WAYS)
    settings = {name: getattr(args, name) for name in ("epochs", "extra_epochs", "limit")}
    store = Store(args.json, with_options(Pretrained(), **settings))
    store.complete(ways, args.seeds, Trainings().train)
    header = "way | seeds: | right after converting: | test accuracy, mean: | deviation: | each"
    table = page.table(header, _rows(store))
    page.write(
        args.table,
        "Converting a trained network",
        "What becomes of a network that was trained at 1:1 when it is converted to 2:1: the test "
        "accuracy after the same number of extra epochs, by seed. Written by "
        "`benches/pretrained.py`.",
        table,
        _how(store),
        "The differences between seeds are the measure for those between ways: a difference of "
        "means that is below the deviation says nothing.",
        f"pretrained.py --seeds {store.seeds(WAYS)} {store.recipe.options()}",
    )
    print(table)


def _rows(store: Store[Pretrained]) -> Iterator[tuple[object, ...]]:
    for way in WAYS:
        trainings = store.of(way).values()
        if trainings:
            before = [100 * t["before"] for t in trainings if t["before"] is not None]
            first = f"{statistics.mean(before):.2f}%" if before else "-"
            yield (way.name, len(trainings), first, *page.accuracies(trainings))


def _how(store: Store[Pretrained]) -> str:
    recipe = store.recipe
    return (
        f"First {recipe.text()}; then each way trains {recipe.extra_epochs} epochs more, one cycle "
        f"up to a rate of {recipe.extra_lr:g}. Annealed: the slopes of the dropped sites go from 0 "
        f"to 1 in the first {recipe.anneal:.0%} of these epochs. Distilled: from the trained "
        "network at 1:1, temperature 4, weight 0.5. The last row trains all epochs in one cycle. "
        f"bf16, on {page.where(store.torch_version())}."
    )


if __name__ == "__main__":
    main()
