"""From a trained network to one at 2:1: at once, annealed, annealed with distillation.

ResNet-20 is trained on Fashion-MNIST at 1:1; then each way gets the same number of extra epochs.
Beside them: the network that stays at 1:1 for these epochs, and one that is at 2:1 from the start.
Each finished training is kept in the JSON file, and a call does what is not in it. The table goes
into docs/results/pretrained.md.

    python benches/pretrained.py --seeds 3
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import proprelu
import torch
from fashion.data import augment, splits
from fashion.recipe import Recipe, with_options
from fashion.store import Store, Training
from side_by_side.report import processor
from side_by_side.systems import BENCHES
from torch import nn

_RESULTS = BENCHES / "results" / "pretrained.json"
_TABLE = BENCHES.parent / "docs" / "results" / "pretrained.md"


@dataclass(frozen=True)
class Pretrained(Recipe):
    """A recipe, and how the trained network goes on.

    Attributes:
        extra_epochs: after the first training.
        extra_lr: the top of their cycle.
        anneal: the share of the extra epochs in which the slopes go from 0 to 1.
    """

    extra_epochs: int = 4
    extra_lr: float = 0.05
    anneal: float = 0.5


@dataclass(frozen=True)
class Way:
    """How the network comes to its ratio.

    Attributes:
        name: for people.
        ratio: of the extra epochs.
        annealed: step by step, not at once.
        distilled: with the network at 1:1 as the teacher.
        pretrained: starts from the trained network.
    """

    name: str
    ratio: str = "2:1"
    annealed: bool = False
    distilled: bool = False
    pretrained: bool = True


WAYS = (
    Way("stays at 1:1", ratio="1:1"),
    Way("2:1 at once"),
    Way("2:1 annealed", annealed=True),
    Way("2:1 annealed, distilled", annealed=True, distilled=True),
    Way("2:1 from the start", pretrained=False),
)


class Trainings:
    """Trains; the network that all ways start from is trained once a seed."""

    def __init__(self) -> None:
        self._base: dict[int, nn.Module] = {}

    def train(self, way: Way, seed: int, recipe: Pretrained) -> Training:
        start = time.perf_counter()
        training, test = splits(recipe)
        if way.pretrained:
            base = self._trained(seed, recipe)
            steps: dict[str, Any] = {"anneal": _anneal(recipe)} if way.annealed else {}
            model = proprelu.convert(base, way.ratio, **steps)
            epochs, lr = recipe.extra_epochs, recipe.extra_lr
        else:
            model, epochs, lr = (
                _network(seed, way.ratio),
                recipe.epochs + recipe.extra_epochs,
                recipe.lr,
            )
        teacher = (
            {"teacher": copy.deepcopy(base), "distill": proprelu.Distill()} if way.distilled else {}
        )
        trainer = _trainer(model, lr, seed + 1000, recipe, **teacher)
        # what the conversion alone has left
        first = trainer.evaluate(test) if way.pretrained else {"top1": None}
        history = _fit(trainer, training, test, epochs, recipe)
        rows = [{"top1": row["val_top1"]} for row in history]
        seconds = time.perf_counter() - start
        return {
            "before": first["top1"],
            "epochs": rows,
            "total_seconds": seconds,
            "torch": torch.__version__,
        }

    def _trained(self, seed: int, recipe: Pretrained) -> nn.Module:
        if seed not in self._base:
            training, test = splits(recipe)
            model = _network(seed, "1:1")
            history = _fit(
                _trainer(model, recipe.lr, seed, recipe), training, test, recipe.epochs, recipe
            )
            print(f"trained at 1:1, seed {seed}: {100 * history[-1]['val_top1']:.2f}%")
            self._base = {seed: model}
        return self._base[seed]


def _network(seed: int, ratio: str) -> nn.Module:
    torch.manual_seed(seed)
    return proprelu.models.create("resnet20", ratio=ratio, in_channels=1)


def _anneal(recipe: Pretrained) -> proprelu.Anneal:
    return proprelu.Anneal(recipe.anneal * recipe.extra_epochs)


def _trainer(
    model: nn.Module, lr: float, seed: int, recipe: Pretrained, **more: Any
) -> proprelu.Trainer:
    return proprelu.Trainer(
        model,
        proprelu.SGD(lr, recipe.momentum, weight_decay=recipe.weight_decay),
        proprelu.OneCycle(pct_start=recipe.pct_start),
        precision="bf16",
        seed=seed,
        progress=False,
        **more,
    )


def _fit(
    trainer: proprelu.Trainer, training: Any, test: Any, epochs: int, recipe: Pretrained
) -> proprelu.History:
    return trainer.fit(
        training, test, epochs=epochs, batch_size=recipe.batch_size, augment=augment(recipe)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="one way, by its name in the table")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--epochs", type=int, help="of the first training")
    parser.add_argument("--extra-epochs", type=int, help="of each way after it")
    parser.add_argument("--limit", type=int, help="train and test on the first images only")
    parser.add_argument("--json", type=Path, default=_RESULTS, help="where trainings are kept")
    parser.add_argument("--table", type=Path, default=_TABLE, help="where the table goes")
    parser.add_argument("--list", action="store_true", help="print the ways and stop")
    args = parser.parse_args()
    if args.list:
        print("\n".join(way.name for way in WAYS))
        return
    ways = [way for way in WAYS if args.only in (None, way.name)]
    if not ways:
        parser.error(f"--only must be one of {', '.join(w.name for w in WAYS)}, got {args.only!r}")
    options = {"epochs": args.epochs, "extra_epochs": args.extra_epochs, "limit": args.limit}
    recipe = with_options(Pretrained(epochs=5), **options)
    store = Store(args.json, recipe)
    train: Callable[..., Training] = Trainings().train
    store.complete(ways, range(args.seeds), train)
    args.table.parent.mkdir(parents=True, exist_ok=True)
    args.table.write_text(document(store, recipe))
    print(table(store))


def table(store: Store) -> str:
    """In Markdown: a row for each way."""
    lines = [
        "| way | seeds | right after converting | test accuracy, mean | deviation | each |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for way in WAYS:
        trainings = store.of(way).values()
        finals = [100 * training["epochs"][-1]["top1"] for training in trainings]
        if not finals:
            continue
        before = [100 * t["before"] for t in trainings if t["before"] is not None]
        first = f"{statistics.mean(before):.2f}%" if before else "-"
        spread = f"{statistics.stdev(finals):.2f}" if len(finals) > 1 else "-"
        each = ", ".join(f"{value:.2f}" for value in finals)
        mean = statistics.mean(finals)
        lines.append(f"| {way.name} | {len(finals)} | {first} | {mean:.2f}% | {spread} | {each} |")
    return "\n".join(lines)


def document(store: Store, recipe: Pretrained) -> str:
    """The page, which says what was run, where, and how to run it again."""
    seeds = max((len(store.of(way)) for way in WAYS), default=0)
    limit = f" --limit {recipe.limit}" if recipe.limit else ""
    text = recipe.text().replace("ResNet-20 at 2:1", "ResNet-20 at 1:1")
    how = (
        f"First {text}; then each way trains {recipe.extra_epochs} epochs more, one cycle up to a "
        f"rate of {recipe.extra_lr:g}. Annealed: the dropped sites' slopes go from 0 to 1 in the "
        f"first {recipe.anneal:.0%} of these epochs. Distilled: from the trained network at 1:1, "
        "temperature 4, weight 0.5. The last row trains all epochs in one cycle. bf16, "
        f"on {os.cpu_count()} cores of an {processor()}, torch {store.torch_version()}."
    )
    return f"""# Converting a trained network

What becomes of a network that was trained at 1:1 when it is converted to 2:1: the test accuracy
after the same number of extra epochs, by seed. Written by `benches/pretrained.py`.

{table(store)}

{textwrap.fill(how, 100)}

The differences between seeds are the measure for those between ways: a difference of means that is
below the deviation says nothing.

To repeat it, with a result kept after each training:

```sh
python benches/pretrained.py --seeds {seeds}{limit}
```
"""


if __name__ == "__main__":
    main()
