"""The methods beside the ratio: the same data, the same number of epochs, a network for each.

Tied blocks, tied squeeze-excite and covariance pooling in ResNet-20 at 2:1; MgNet; a small vision
transformer with its patches as they are and with a convolutional stem. Each finished training is
kept in the JSON file, and a call trains what is missing there. The table is docs/results/methods.md.

    python benches/methods.py --seeds 2
"""

from __future__ import annotations

import argparse
import os
import statistics
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import proprelu
import torch
from fashion.data import augment, splits
from fashion.recipe import Recipe, with_options
from fashion.store import Store, Training
from proprelu.convert import covariance_head, tie_blocks
from proprelu.nn import TiedSqueezeExcite
from side_by_side.report import processor
from side_by_side.systems import BENCHES
from torch import nn

_RESULTS = BENCHES / "results" / "methods.json"
_TABLE = BENCHES.parent / "docs" / "results" / "methods.md"


@dataclass(frozen=True)
class Method:
    """A network, and how it is trained.

    Attributes:
        name: for people.
        make: builds it, for gray images of 28x28.
        optimizer: for the learning rate at the top of the cycle.
        lr: that rate; found with short trainings for each kind of network, not searched.
    """

    name: str
    make: Callable[[], nn.Module]
    optimizer: Callable[[float, Recipe], proprelu.SGD | proprelu.AdamW]
    lr: float


def _sgd(lr: float, recipe: Recipe) -> proprelu.SGD:
    return proprelu.SGD(lr, recipe.momentum, weight_decay=recipe.weight_decay)


def _adamw(lr: float, recipe: Recipe) -> proprelu.AdamW:
    return proprelu.AdamW(lr, weight_decay=0.05)


def _resnet() -> nn.Module:
    return proprelu.models.create("resnet20", ratio="2:1", in_channels=1)


def _with_squeeze_excite() -> nn.Module:
    """One behind the last norm of each residual block, before the input is added."""
    model = _resnet()
    for block in model.modules():
        norm = getattr(block, "bn2", None)
        if isinstance(norm, nn.BatchNorm2d):
            gate = TiedSqueezeExcite(norm.num_features, num_blocks=8)
            block.register_module("bn2", nn.Sequential(norm, gate))
    return model


def _vit(stem: str) -> Callable[[], nn.Module]:
    options = {"stem": stem, "embed_dim": 64, "depth": 4}
    return lambda: proprelu.models.create("vit", in_channels=1, **options)


METHODS = (
    Method("ResNet-20 2:1", _resnet, _sgd, 0.2),
    Method("tied blocks, B = 2", lambda: tie_blocks(_resnet(), 2), _sgd, 0.2),
    Method("tied squeeze-excite, B = 8", _with_squeeze_excite, _sgd, 0.2),
    Method("covariance pooling, d = 64", lambda: covariance_head(_resnet(), 10, dim=64), _sgd, 0.1),
    Method(
        "MgNet, 32 channels",
        lambda: proprelu.models.create("mgnet", channels=32, in_channels=1),
        _sgd,
        0.1,
    ),
    Method("ViT of 64 features, patches", _vit("patch"), _adamw, 2e-3),
    Method("ViT of 64 features, conv stem", _vit("scaled_relu"), _adamw, 2e-3),
)


def train(method: Method, seed: int, recipe: Recipe) -> Training:
    """One training with `Trainer`, in bf16."""
    start = time.perf_counter()
    training, test = splits(recipe)
    torch.manual_seed(seed)
    model = method.make()
    trainer = proprelu.Trainer(
        model,
        method.optimizer(method.lr, recipe),
        proprelu.OneCycle(pct_start=recipe.pct_start),
        precision="bf16",
        seed=seed,
        progress=False,
    )
    history = trainer.fit(
        training,
        test,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        augment=augment(recipe),
    )
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": [
            {"top1": row["val_top1"], "images_per_s": row["images_per_s"]} for row in history
        ],
        "total_seconds": time.perf_counter() - start,
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="one method, by its name in the table")
    parser.add_argument("--seeds", type=int, default=2, help="how many, from 0 on")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--limit", type=int, help="train and test on the first images only")
    parser.add_argument("--json", type=Path, default=_RESULTS, help="where trainings are kept")
    parser.add_argument("--table", type=Path, default=_TABLE, help="where the table goes")
    parser.add_argument("--list", action="store_true", help="print the methods and stop")
    args = parser.parse_args()
    if args.list:
        print("\n".join(method.name for method in METHODS))
        return
    methods = [method for method in METHODS if args.only in (None, method.name)]
    if not methods:
        parser.error(f"--only must be one of --list, got {args.only!r}")
    recipe = with_options(Recipe(epochs=3), epochs=args.epochs, limit=args.limit)
    store = Store(args.json, recipe)
    store.complete(methods, range(args.seeds), train)
    args.table.parent.mkdir(parents=True, exist_ok=True)
    args.table.write_text(document(store, recipe))
    print(table(store))


def table(store: Store) -> str:
    """In Markdown: a row for each method that was trained."""
    lines = [
        "| network | parameters | test accuracy, mean | deviation | each | images/s |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for method in METHODS:
        trainings = store.of(method).values()
        finals = [100 * training["epochs"][-1]["top1"] for training in trainings]
        if not finals:
            continue
        speeds = [epoch["images_per_s"] for training in trainings for epoch in training["epochs"]]
        parameters = next(iter(trainings))["parameters"]
        spread = f"{statistics.stdev(finals):.2f}" if len(finals) > 1 else "-"
        each = ", ".join(f"{value:.2f}" for value in finals)
        lines.append(
            f"| {method.name} | {parameters:,} | {statistics.mean(finals):.2f}% | {spread} "
            f"| {each} | {statistics.median(speeds):,.0f} |"
        )
    return "\n".join(lines)


def document(store: Store, recipe: Recipe) -> str:
    """The page, which says what was run, where, and how to run it again."""
    seeds = max((len(store.of(method)) for method in METHODS), default=0)
    limit = f" --limit {recipe.limit}" if recipe.limit else ""
    part = f", the first {recipe.limit} images only" if recipe.limit else ""
    rates = ", ".join(f"{method.name} {method.lr:g}" for method in METHODS)
    how = (
        f"Fashion-MNIST{part}, {recipe.epochs} epochs, batch {recipe.batch_size}, one cycle of the "
        f"learning rate, crops after a padding of {recipe.pad} and flips, bf16. SGD with momentum "
        f"{recipe.momentum} and weight decay {recipe.weight_decay:g}; for the transformers AdamW "
        f"with weight decay 0.05. Top of the cycle: {rates}. The images a second are those of "
        "training epochs, one network after the other. Measured on "
        f"{os.cpu_count()} cores of an {processor()}, torch {store.torch_version()}."
    )
    return f"""# The methods beside the ratio

What becomes of a small network with each of them. Written by `benches/methods.py`.

{table(store)}

{textwrap.fill(how, 100)}

The rates were not searched, the epochs are few and the images small: the table shows that each
trains and what it costs, and not which is best. A difference that is below the deviation says
nothing.

To repeat it, with a result kept after each training:

```sh
python benches/methods.py --seeds {seeds} --epochs {recipe.epochs}{limit}
```
"""


if __name__ == "__main__":
    main()
