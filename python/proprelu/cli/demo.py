"""``proprelu demo``: trains the same network at 1:1 and at 2:1, in a minute or two."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from rich.console import Console

from proprelu import datasets, models
from proprelu.convert import convert, ratio_of
from proprelu.data import Augment
from proprelu.tables import Table
from proprelu.train import SGD, History, ProgressBar, Trainer, plot_histories

# Sized so that both runs together take about 90 seconds on two processor cores.
MODEL = "resnet20"
RATIO = "2:1"
EPOCHS = 5
IMAGES = 8000
BATCH_SIZE = 128
LR = 0.1


class Run(NamedTuple):
    """One of the two runs."""

    ratio: str
    relus: int
    history: History


def demo(
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the images.")] = EPOCHS,
    images: Annotated[
        int, typer.Option(min=BATCH_SIZE, max=8000, help="Training images.")
    ] = IMAGES,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    seed: Annotated[int, typer.Option(help="Seed of weights, order and augmentation.")] = 0,
    out: Annotated[Path, typer.Option(help="The folder for the plot and the tables.")] = Path(
        "runs/demo"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
) -> None:
    """Train a ResNet-20 on real images, at 1:1 and converted to 2:1; compare the two.

    The images are 28x28 photographs of clothes that come with the package (Fashion-MNIST). Both
    runs start with the same weights and use the same batches.

    Examples:

    - `proprelu demo`

    - `proprelu demo --epochs 10 --precision bf16 --seed 1`
    """
    console = Console(highlight=False, soft_wrap=True, stderr=as_json)
    train, val = (datasets.fashion_mnist_small(split) for split in ("train", "test"))
    train = train.subset(_balanced(train.labels().tolist(), images))
    torch.manual_seed(seed)
    original = models.create(MODEL, num_classes=train.num_classes, in_channels=1)
    networks = {"1:1": original, RATIO: convert(deepcopy(original), RATIO)}
    console.print(
        f"{MODEL} on {len(train):,} images of clothes, once with every ReLU, "
        f"once converted to {RATIO}"
    )
    out.mkdir(parents=True, exist_ok=True)
    runs = []
    for ratio, network in networks.items():
        trainer = Trainer(
            network,
            optimizer=SGD(lr=LR, momentum=0.9, weight_decay=5e-4),
            schedule="one_cycle",
            precision=precision,
            seed=seed,
            loggers=[ProgressBar(ratio)],
            progress=False,
        )
        augment = Augment(pad=2, flip=True)
        history = trainer.fit(train, val, epochs=epochs, batch_size=BATCH_SIZE, augment=augment)
        history.to_csv(out / f"{ratio.replace(':', 'x')}.csv")
        runs.append(Run(ratio, ratio_of(network).relus, history))
    _report(runs, console, out, len(train))
    if as_json:
        print(json.dumps([_as_dict(run) for run in runs], indent=2))


def _balanced(labels: list[int], count: int) -> list[int]:
    """The indices of the first ``count`` images, taken from the classes in turn."""
    seen: dict[int, int] = {}
    ranks = []
    for index, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        ranks.append((seen[label], label, index))
    return sorted(index for _, _, index in sorted(ranks)[:count])


def _report(runs: list[Run], console: Console, out: Path, images: int) -> None:
    columns = ("ratio", "ReLUs", "accuracy", "loss", "training loss", "images/s", "seconds")
    console.print(Table(columns, [_cells(run) for run in runs]))
    console.print(
        "One short run of each shows how it works, not which is better: other seeds give other "
        "results."
    )
    path = out / "curves.png"
    try:
        title = f"{MODEL} on {images:,} images of Fashion-MNIST"
        plot_histories({run.ratio: run.history for run in runs}, path, title)
    except ImportError as error:
        console.print(f"no plot: {error}")
    else:
        console.print(f"curves: {path}")


def _cells(run: Run) -> list[str]:
    last, values = run.history.last, _as_dict(run)
    return [
        run.ratio,
        str(run.relus),
        f"{100 * (last['val_top1'] or 0):.2f}%",
        f"{last['val_loss']:.4f}",
        f"{last['train_loss']:.4f}",
        f"{values['images_per_s']:,.0f}",
        f"{values['seconds']:.1f}",
    ]


def _as_dict(run: Run) -> dict[str, Any]:
    seconds = sum(row["seconds"] or 0 for row in run.history)
    images = sum((row["images_per_s"] or 0) * (row["seconds"] or 0) for row in run.history)
    return {
        "ratio": run.ratio,
        "relus": run.relus,
        "seconds": seconds,
        "images_per_s": images / seconds if seconds else 0.0,
        "rows": list(run.history),
    }
