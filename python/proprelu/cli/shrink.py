"""``proprelu shrink``: makes a trained network faster, in one command."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from proprelu.cli.convert import loaded
from proprelu.cli.inspect import ModelName
from proprelu.cli.merge import check_onnx, export
from proprelu.cli.sources import data_by_name, model_by_name
from proprelu.shrink import Shrunk
from proprelu.shrink import shrink as apply
from proprelu.train import SGD, Distill
from proprelu.weights.files import save_merged

_WEIGHTS, _PICTURE = "merged.safetensors", "shrink.png"


def shrink(
    model: ModelName,
    weights: Annotated[
        Path, typer.Option(help="The trained weights: a .safetensors file, or one of torch.save.")
    ],
    data: Annotated[str, typer.Option(help="As for `proprelu train`.")],
    budget: Annotated[
        float, typer.Option(help="The part of the cost that is left, between 0 and 1.")
    ],
    objective: Annotated[
        str, typer.Option(help="What the budget limits: latency or macs.")
    ] = "latency",
    ratio: Annotated[
        str | None, typer.Option(help="Drop no more ReLUs than this ratio. Default: any number.")
    ] = None,
    keep_layers: Annotated[
        bool, typer.Option("--keep-layers", help="Remove no layers, drop ReLUs and merge only.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a step.")] = 128,
    lr: Annotated[float, typer.Option(help="The highest learning rate.")] = 0.02,
    distill: Annotated[
        bool, typer.Option("--distill", help="Learn from the original as well.")
    ] = False,
    precision: Annotated[str, typer.Option(help="Of the training: fp32 or bf16.")] = "fp32",
    seed: Annotated[int, typer.Option(help="The seed of the training.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: torch's.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of the run. Default: runs/shrink-MODEL.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Write the network as ONNX.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Drop ReLUs and layers of a trained model, train it further, and merge what became linear.

    Which ReLUs and layers go is planned so that the merged network meets the budget: those that
    the network misses least, measured on the training images. The folder of the run gets
    merged.safetensors, shrink.png, and what is needed to continue after an interruption, by the
    same command.

    Examples:

    - `proprelu shrink mobilenet_v2 --weights mobilenet.pth --data cifar10 --budget 0.6`

    - `proprelu shrink resnet20 --weights resnet.safetensors --data cifar10 --budget 0.9
      --objective macs --epochs 30 --distill --onnx small.onnx`
    """
    if threads is not None:
        torch.set_num_threads(threads)
    check_onnx(onnx)
    torch.manual_seed(seed)
    images = data_by_name(data)
    folder = out or Path("runs") / f"shrink-{model}"
    network = model_by_name(
        model, num_classes=images.train.num_classes, in_channels=images.train.shape[3]
    )
    network = loaded(network, weights)
    try:
        found = apply(
            network,
            images.train,
            images.val,
            budget=budget,
            objective=objective,
            ratio=ratio,
            layers=not keep_layers,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=SGD(lr=lr, weight_decay=5e-4),
            augment=images.augment,
            distill=Distill() if distill else None,
            precision=precision,
            seed=seed,
            folder=folder,
            progress=not as_json,
        )
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command continues", err=True)
        raise typer.Exit(130) from None
    _save(found, folder, model)
    if onnx is not None:
        size, channels = images.train.shape[1:3], images.train.shape[3]
        export(found.model, torch.zeros(1, channels, *size), onnx)
    if as_json:
        print(json.dumps(_as_dict(found, folder), indent=2))
        return
    Console().print(found)
    for name, reason in found.left:
        print(f"left alone: {name}: {reason}")
    for path in filter(None, (folder / _WEIGHTS, onnx)):
        print(f"saved {path}")


def _save(found: Shrunk, folder: Path, model: str) -> None:
    save_merged(found.model, found.trained, folder / _WEIGHTS, {"model": model})
    try:
        found.plot(folder / _PICTURE)
    except ImportError as error:
        typer.echo(f"no {_PICTURE}: {error}", err=True)


def _as_dict(found: Shrunk, folder: Path) -> dict[str, object]:
    """The result as JSON types."""
    return {
        "out": str(folder),
        "dropped": found.plan.dropped,
        "sites": len(found.plan.sites),
        "removed": found.plan.removed,
        "before": asdict(found.before),
        "after": asdict(found.after),
        "left": dict(found.left),
    }
