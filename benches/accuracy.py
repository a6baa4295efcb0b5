"""Does proprelu's arithmetic train as well? ResNet-20 on Fashion-MNIST, with several seeds.

PyTorch in float32 and proprelu in each precision train with the same recipe. Each finished
training is stored in the JSON file, and a call runs those that are missing: an interrupted one
continues, and `--only "proprelu bf16" --seeds 1` runs one training. The page is
docs/results/accuracy.md.

    python benches/accuracy.py --seeds 3 --epochs 5
"""

from __future__ import annotations

from harness import page
from harness.arguments import chosen_one, training_parser
from harness.store import Store
from harness.training import in_child
from systems.cpu import OURS, OURS_DIRECT, OURS_FP32, TORCH_FP32
from works.recipe import ACCURACY, Recipe, with_options

SYSTEMS = (TORCH_FP32, OURS_FP32, OURS_DIRECT, OURS)


def main() -> None:
    options = training_parser(__doc__, "accuracy", seeds=3)
    args = options.parse_args()
    systems = chosen_one(options, args, SYSTEMS)
    store = Store(args.json, with_options(ACCURACY, epochs=args.epochs, limit=args.limit))
    notes = store.complete(systems, args.seeds, in_child("cpu"))
    table = page.table(
        "system | seeds: | test accuracy, mean: | standard deviation: | each",
        (
            (system.name, len(store.of(system)), *page.accuracies(store.of(system).values()))
            for system in SYSTEMS
            if store.of(system)
        ),
    )
    page.write(
        args.table,
        "Accuracy",
        "Whether the training engine's arithmetic trains as well as PyTorch's: the test accuracy "
        "after the last epoch, by seed. Written by `benches/accuracy.py`.",
        table,
        _how(store),
        "The differences between seeds are the measure for those between systems: a difference of "
        "means that is well below the deviation says nothing.",
        f"accuracy.py --seeds {store.seeds(SYSTEMS)} {store.recipe.options()}",
    )
    print(table, *notes, sep="\n")


def _how(store: Store[Recipe]) -> str:
    return (
        f"{store.recipe.text()}. Ours runs with `Trainer`; PyTorch's is a plain eager loop "
        "(`torch.optim.SGD`, `OneCycleLR`) over the same batches. A seed fixes the initial "
        "weights, the order of the images and their crops and flips, for all systems alike. "
        f"Measured on {page.where(store.torch_version())}."
    )


if __name__ == "__main__":
    main()
