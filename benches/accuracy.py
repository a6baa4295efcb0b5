"""Does our arithmetic train as well? ResNet-20 on Fashion-MNIST, with several seeds.

The same recipe by PyTorch in float32 and by ours in each precision. Each finished training is kept
in the JSON file, and a call does what is not in it: an interrupted one goes on, and
`--only "proprelu bf16" --seeds 1` does one training. The table goes into docs/results/accuracy.md.

    python benches/accuracy.py --seeds 3 --epochs 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import textwrap
from pathlib import Path

from fashion.recipe import ACCURACY, with_options
from fashion.store import Store, run
from side_by_side.report import processor
from side_by_side.systems import BENCHES, System

SYSTEMS = (
    System("torch", "fp32"),
    System("proprelu", "fp32"),
    System("proprelu", "bf16", direct=True),
    System("proprelu", "bf16"),
)
_RESULTS = BENCHES / "results" / "accuracy.json"
_TABLE = BENCHES.parent / "docs" / "results" / "accuracy.md"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="one system, by its full name in --list")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--limit", type=int, help="train and test on the first images only")
    parser.add_argument("--json", type=Path, default=_RESULTS, help="where trainings are kept")
    parser.add_argument("--table", type=Path, default=_TABLE, help="where the table goes")
    parser.add_argument("--list", action="store_true", help="print the systems and stop")
    args = parser.parse_args()
    if args.list:
        print("\n".join(system.name for system in SYSTEMS))
        return
    systems = [system for system in SYSTEMS if args.only in (None, system.name)]
    if not systems:
        parser.error(f"--only must be one of --list, got {args.only!r}")
    recipe = with_options(ACCURACY, epochs=args.epochs, limit=args.limit)
    store = Store(args.json, recipe)
    notes = store.complete(systems, range(args.seeds), run)
    args.table.parent.mkdir(parents=True, exist_ok=True)
    args.table.write_text(document(store))
    print(table(store), *notes, sep="\n")


def table(store: Store) -> str:
    """In Markdown: a row for each system that was trained."""
    lines = [
        "| system | seeds | test accuracy, mean | standard deviation | each |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for system in SYSTEMS:
        finals = [100 * t["epochs"][-1]["top1"] for t in store.of(system).values()]
        if finals:
            spread = f"{statistics.stdev(finals):.2f}" if len(finals) > 1 else "-"
            each = ", ".join(f"{value:.2f}" for value in finals)
            mean = statistics.mean(finals)
            lines.append(f"| {system.name} | {len(finals)} | {mean:.2f}% | {spread} | {each} |")
    return "\n".join(lines)


def document(store: Store) -> str:
    """The page, which says what was run, where, and how to run it again."""
    recipe = store.recipe
    limit = f" --limit {recipe.limit}" if recipe.limit else ""
    seeds = max((len(store.of(system)) for system in SYSTEMS), default=0)
    how = (
        f"{recipe.text()}. Ours runs with `Trainer`; PyTorch's is a plain eager loop "
        "(`torch.optim.SGD`, `OneCycleLR`) over the same batches. A seed fixes the weights at the "
        "start, the order of the images and their crops and flips, for all systems alike. "
        f"Measured on {os.cpu_count()} cores of an {processor()}, torch {store.torch_version()}."
    )
    return f"""# Accuracy

Whether the training engine's arithmetic trains as well as PyTorch's: the test accuracy after the
last epoch, by seed. Written by `benches/accuracy.py`.

{table(store)}

{textwrap.fill(how, 100)}

The differences between seeds are the measure for those between systems: a difference of means that
is well below the deviation says nothing.

To repeat it, with a result kept after each training:

```sh
python benches/accuracy.py --seeds {seeds} --epochs {recipe.epochs}{limit}
```
"""


if __name__ == "__main__":
    main()
