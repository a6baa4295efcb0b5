"""``proprelu demo``: trains the same network at 1:1 and at 2:1, with several seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, NamedTuple

import torch
import typer
from rich.console import Console
from torch import nn

from proprelu import datasets, models
from proprelu.cli.together import Job, train_together
from proprelu.convert import convert, ratio_of
from proprelu.data import Augment
from proprelu.tables import Table
from proprelu.train import SGD, History, Logger, Trainer, plot_histories

# Sized so that all runs together take about 90 seconds on two processor cores.
MODEL = "resnet20"
RATIOS = ("1:1", "2:1")
SEEDS = 2
EPOCHS = 5
IMAGES = 4000
BATCH_SIZE = 128
# Larger rates come to the same accuracy, but validate badly in the first epochs.
LR = 0.02


class Run(NamedTuple):
    """One training."""

    ratio: str
    relus: int
    seed: int
    history: History


def demo(
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the images.")] = EPOCHS,
    images: Annotated[
        int, typer.Option(min=BATCH_SIZE, max=8000, help="Training images.")
    ] = IMAGES,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each ratio.")] = SEEDS,
    seed: Annotated[
        int, typer.Option(min=0, help="The first seed of weights, order and augmentation.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="The folder for the plot and the tables.")] = Path(
        "runs/demo"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
) -> None:
    """Train a ResNet-20 on real images, at 1:1 and converted to 2:1; compare the two.

    The images are 28x28 photographs of clothes that come with the package (Fashion-MNIST). Each
    ratio is trained with several seeds. The runs of one seed start with the same weights and use
    the same batches. As many runs train at the same time as torch has threads.

    Examples:

    - `proprelu demo`

    - `proprelu demo --epochs 10 --seeds 4 --precision bf16`
    """
    console = Console(highlight=False, soft_wrap=True, stderr=as_json)
    train, val = (datasets.fashion_mnist_small(split) for split in ("train", "test"))
    train = train.subset(_balanced(train.labels().tolist(), images))
    console.print(
        f"{MODEL} on {len(train):,} images of clothes, with all of its ReLUs (1:1) and with half "
        f"of them (2:1), {seeds} {'run' if seeds == 1 else 'runs'} each"
    )
    chosen = range(seed, seed + seeds)
    networks = [(s, ratio, net) for s in chosen for ratio, net in _networks(s).items()]

    def job(network: nn.Module, ratio: str, seed: int) -> Job:
        def fit(progress: Logger) -> History:
            trainer = Trainer(
                network,
                optimizer=SGD(lr=LR, momentum=0.9, weight_decay=5e-4, nesterov=True),
                schedule="one_cycle",
                precision=precision,
                seed=seed,
                loggers=[progress],
                progress=False,
            )
            augment = Augment(pad=2, flip=True)
            return trainer.fit(train, val, epochs=epochs, batch_size=BATCH_SIZE, augment=augment)

        return Job(f"{ratio} seed {seed}", fit)

    out.mkdir(parents=True, exist_ok=True)
    jobs = [job(network, ratio, s) for s, ratio, network in networks]
    histories = train_together(jobs, Console(stderr=True, highlight=False))
    runs = [
        Run(ratio, ratio_of(network).relus, s, history)
        for (s, ratio, network), history in zip(networks, histories, strict=True)
    ]
    for run in runs:
        run.history.to_csv(out / f"{run.ratio.replace(':', 'x')}-seed{run.seed}.csv")
    _report(runs, console, out, len(train))
    if as_json:
        print(json.dumps([_as_dict(run) for run in runs], indent=2))


def _networks(seed: int) -> dict[str, nn.Module]:
    """The network at each ratio, with the same weights."""
    torch.manual_seed(seed)
    original = models.create(MODEL, num_classes=10, in_channels=1)
    return {ratio: convert(deepcopy(original), ratio) for ratio in RATIOS}


def _balanced(labels: list[int], count: int) -> list[int]:
    """The indices of the first ``count`` images, taken from the classes in turn."""
    seen: dict[int, int] = {}
    ranks = []
    for index, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        ranks.append((seen[label], label, index))
    return sorted(index for _, _, index in sorted(ranks)[:count])


def _report(runs: list[Run], console: Console, out: Path, images: int) -> None:
    by_ratio = {ratio: [run for run in runs if run.ratio == ratio] for ratio in RATIOS}
    columns = ("ratio", "ReLUs", "accuracy", "of each run", "loss", "training loss", "images/s")
    console.print(Table(columns, [_cells(ratio, some) for ratio, some in by_ratio.items()]))
    console.print(_sentence(by_ratio))
    if any(_lags(row) for run in runs for row in run.history):
        console.print(
            "Where the validation loss is far above the training loss in the first epochs, the "
            "running statistics of the batch norms lag behind the weights; they catch up as the "
            "learning rate falls."
        )
    path = out / "curves.png"
    try:
        title = f"{MODEL} on {images:,} images of Fashion-MNIST"
        curves = {ratio: [run.history for run in some] for ratio, some in by_ratio.items()}
        plot_histories(curves, path, title)
    except ImportError as error:
        console.print(f"no plot: {error}")
    else:
        console.print(f"curves: {path}")


def _cells(ratio: str, runs: list[Run]) -> list[str]:
    accuracies = _accuracies(runs)
    return [
        ratio,
        str(runs[0].relus),
        f"{mean(accuracies):.2f}%",
        ", ".join(f"{accuracy:.2f}" for accuracy in accuracies),
        f"{mean(run.history.last['val_loss'] or 0 for run in runs):.4f}",
        f"{mean(run.history.last['train_loss'] or 0 for run in runs):.4f}",
        f"{mean(_as_dict(run)['images_per_s'] for run in runs):,.0f}",
    ]


def _sentence(by_ratio: dict[str, list[Run]]) -> str:
    """What the runs show, measured against what the seed alone changes."""
    whole, half = (_accuracies(by_ratio[ratio]) for ratio in RATIOS)
    relus = [runs[0].relus for runs in by_ratio.values()]
    difference = mean(half) - mean(whole)
    text = (
        f"With {relus[1]} of {relus[0]} ReLUs the mean accuracy is {abs(difference):.2f} points "
        f"{'higher' if difference >= 0 else 'lower'}"
    )
    if len(whole) == 1:
        return f"{text}. One run of each cannot show which is better: other seeds differ by more."
    spread = max(max(some) - min(some) for some in (whole, half))
    return (
        f"{text}; the seed alone changes it by up to {spread:.2f} points. So short a training "
        "shows what a conversion costs, not which ratio is better."
    )


def _lags(row: Mapping[str, float | None]) -> bool:
    val, train = row["val_loss"], row["train_loss"]
    return val is not None and train is not None and val > 2 * train


def _accuracies(runs: list[Run]) -> list[float]:
    return [100 * (run.history.last["val_top1"] or 0) for run in runs]


def _as_dict(run: Run) -> dict[str, Any]:
    seconds = sum(row["seconds"] or 0 for row in run.history)
    images = sum((row["images_per_s"] or 0) * (row["seconds"] or 0) for row in run.history)
    return {
        "ratio": run.ratio,
        "relus": run.relus,
        "seed": run.seed,
        "seconds": seconds,
        "images_per_s": images / seconds if seconds else 0.0,
        "rows": list(run.history),
    }
