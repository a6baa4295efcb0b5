"""``proprelu train``: trains a model; settings and results are saved in a folder."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from proprelu.atomic import write_text
from proprelu.cli.options import with_settings
from proprelu.cli.recipe import loss_of, optimizer_of, schedule_of
from proprelu.cli.settings import (
    SETTINGS,
    Settings,
    SettingsError,
    as_option,
    new_folder,
    recorded_settings,
)
from proprelu.cli.sources import data_by_name, model_by_name
from proprelu.convert import ratio_of
from proprelu.train import History, Logger, Trainer

CHECKPOINT = "checkpoint.safetensors"

# The settings that a resumed run may change, and those that it may with an override of this name.
_FREE = frozenset({"epochs", "schedule_epochs", "device", "threads"})
_OVERRIDES = {
    "data": "data",
    "ratio": "plan",
    "placement": "plan",
    "batch_size": "batch_size",
    "optimizer": "optimizer",
    "lr": "optimizer",
    "weight_decay": "optimizer",
    "schedule": "schedule",
    "clip_grad_norm": "clip_grad_norm",
    "ema_decay": "ema",
    "augment": "augment",
    "label_smoothing": "loss",
    "precision": "precision",
    "seed": "seed",
}


@with_settings(Settings)
def train(
    *,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file with these settings; options given here win."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="The folder of a run to continue; --epochs may be raised."),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            help="With --resume: what may change, for example batch_size. Can be repeated."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output.")
    ] = False,
    **settings: Any,
) -> None:
    """Train a model at a ratio, with the loop in Rust.

    The folder of the run gets settings.toml (the settings; give it to --config to repeat the
    run), history.csv, history.png, weights.safetensors and checkpoint.safetensors (to continue).

    Examples:

    - `proprelu train resnet20 --ratio 2:1`

    - `proprelu train resnet56 --ratio 3:1 --placement even --data cifar10 --epochs 100`

    - `proprelu train --config settings.toml --seed 1 --json`

    - `proprelu train --resume runs/resnet20-2x1-fashion-mnist-small --epochs 20`

    - `proprelu train --resume runs/a --override batch_size --batch-size 64`
    """
    given = {name: value for name, value in settings.items() if value is not None}
    chosen, folder = _decide(given, config, resume, override or [])
    begun = resume is not None and (folder / CHECKPOINT).exists()
    try:
        result = run(chosen, folder, resume=begun, override=override or [], quiet=as_json)
    except KeyboardInterrupt:
        again = f"; continue with: proprelu train --resume {shlex.quote(str(folder))}"
        typer.echo(f"interrupted{again if (folder / SETTINGS).exists() else ''}", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(result, indent=2))


def _decide(
    options: dict[str, Any], config: Path | None, resume: Path | None, override: Sequence[str]
) -> tuple[Settings, Path]:
    """The settings and the folder of a run, from options, --config and --resume."""
    recorded = recorded_settings(Settings(), options, config, resume, "run")
    settings = recorded.with_changes(options)
    if resume is not None:
        _check_changes(recorded, settings, override)
        if settings.schedule == "step" and settings.schedule_epochs is None:
            settings = settings.with_changes({"schedule_epochs": recorded.epochs})
        return settings, resume
    if override:
        raise SettingsError("override must come with --resume, whose checks it turns off")
    folder = (
        Path(settings.out) if settings.out is not None else new_folder(settings, settings.ratio)
    )
    if (folder / SETTINGS).exists():
        raise SettingsError(
            f"{folder} already holds a run; give another --out or --resume "
            f"{shlex.quote(str(folder))}"
        )
    return settings, folder


def _check_changes(recorded: Settings, settings: Settings, override: Sequence[str]) -> None:
    """Raise a ``SettingsError`` if a setting changes that a resumed run has to keep."""
    for setting in fields(Settings):
        name = setting.name
        was, now = getattr(recorded, name), getattr(settings, name)
        if was == now or name in _FREE or _OVERRIDES.get(name) in override:
            continue
        allow = f", or allow it with --override {_OVERRIDES[name]}" if name in _OVERRIDES else ""
        raise SettingsError(
            f"{name} must be {as_option(was)} as in the run that is resumed, got "
            f"{as_option(now)}; begin another run{allow}"
        )


class _Record:
    """Writes the settings when the training begins, after its checkpoint was found to be good."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        write_text(self.folder / SETTINGS, self.settings.to_toml())

    def on_step(self, event: Mapping[str, Any]) -> None: ...

    def on_epoch(self, row: Mapping[str, Any]) -> None: ...

    def on_fit_end(self) -> None: ...


def run(
    settings: Settings, folder: Path, *, resume: bool, override: Sequence[str] = (), quiet: bool
) -> dict[str, Any]:
    """Train and write everything into the folder.

    Returns:
        The result as JSON types.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    data = data_by_name(settings.data)
    network = model_by_name(
        settings.model,
        ratio=settings.ratio,
        placement=settings.placement,
        num_classes=data.train.num_classes,
        in_channels=data.train.shape[3],
    )
    count = ratio_of(network)
    trainer = make_trainer(network, settings, [_Record(settings, folder)])
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"{settings.model}, {count.convs} convolutions : {count.relus} ReLUs -> {folder}")

    history = trainer.fit(
        data.train,
        data.val,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        augment=data.augment if settings.augment else None,
        checkpoint=folder / CHECKPOINT,
        resume=folder / CHECKPOINT if resume else None,
        override=override,
        schedule_epochs=None if settings.schedule == "step" else settings.schedule_epochs,
    )
    best = history.best("val_top1")
    result = {
        "out": str(folder),
        "ratio": settings.ratio,
        "convs": count.convs,
        "relus": count.relus,
        "epochs": len(history),
        "best": best,
        "last": history.last,
    }
    _save(history, folder, settings)
    trainer.save_weights(folder / "weights.safetensors", ratio=settings.ratio)
    if not quiet:
        console.print(str(history))
        console.print(f"best: {100 * (best['val_top1'] or 0):.2f}% in epoch {best['epoch']}")
    return result


def make_trainer(
    network: torch.nn.Module, settings: Settings, loggers: Sequence[Logger] = ()
) -> Trainer:
    """Create the Trainer that the settings describe."""
    return Trainer(
        network,
        optimizer=optimizer_of(settings),
        schedule=schedule_of(settings, settings.schedule_epochs or settings.epochs),
        loss=loss_of(settings),
        precision=settings.precision,
        device=settings.device,
        ema_decay=settings.ema_decay,
        clip_grad_norm=settings.clip_grad_norm,
        seed=settings.seed,
        loggers=loggers,
    )


def _save(history: History, folder: Path, settings: Settings) -> None:
    history.to_csv(folder / "history.csv")
    try:
        history.plot(folder / "history.png", name=f"{settings.model} {settings.ratio}")
    except ImportError as error:
        typer.echo(f"no history.png: {error}", err=True)
