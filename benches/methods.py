"""What does each method cost and reach? The same data and number of epochs, a network for each.

Tied blocks, tied squeeze-excite and covariance pooling in ResNet-20 at 2:1; MgNet; a small vision
transformer with plain patches and with a convolutional stem. Each finished training is stored in
the JSON file, and a call runs those that are missing. The page is docs/results/methods.md.

    python benches/methods.py --seeds 2
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from harness import page
from harness.arguments import chosen_one, training_parser
from harness.store import Store
from works.methods import MEASURED, train
from works.recipe import METHODS, Recipe, with_options


def main() -> None:
    options = training_parser(__doc__, "methods", seeds=2)
    args = options.parse_args()
    methods = chosen_one(options, args, MEASURED)
    store = Store(args.json, with_options(METHODS, epochs=args.epochs, limit=args.limit))
    store.complete(methods, args.seeds, train)
    header = "network | parameters: | test accuracy, mean: | deviation: | each | images/s:"
    table = page.table(header, _rows(store))
    page.write(
        args.table,
        "The methods beside the ratio",
        "What becomes of a small network with each of them. Written by `benches/methods.py`.",
        table,
        _how(store),
        "The rates were not searched, the epochs are few and the images small: the table shows "
        "that each trains and what it costs, and not which is best. A difference that is below the "
        "deviation says nothing.",
        f"methods.py --seeds {store.seeds(MEASURED)} {store.recipe.options()}",
    )
    print(table)


def _rows(store: Store[Recipe]) -> Iterator[tuple[str, ...]]:
    for method in MEASURED:
        trainings = list(store.of(method).values())
        if trainings:
            speeds = [epoch["images_per_s"] for t in trainings for epoch in t["epochs"]]
            yield (
                method.name,
                f"{trainings[0]['parameters']:,}",
                *page.accuracies(trainings),
                f"{statistics.median(speeds):,.0f}",
            )


def _how(store: Store[Recipe]) -> str:
    recipe = store.recipe
    rates = ", ".join(f"{method.name} {method.lr:g}" for method in MEASURED)
    return (
        f"Fashion-MNIST{recipe.part()}, {recipe.epochs} epochs, batch {recipe.batch_size}, one "
        f"cycle of the learning rate, crops after a padding of {recipe.pad} and flips, bf16. SGD "
        f"with momentum {recipe.momentum} and weight decay {recipe.weight_decay:g}; for the "
        f"transformers AdamW with weight decay 0.05. Peak of the cycle: {rates}. The images per "
        "second are those of training epochs, one network after the other. Measured on "
        f"{page.where(store.torch_version())}."
    )


if __name__ == "__main__":
    main()
