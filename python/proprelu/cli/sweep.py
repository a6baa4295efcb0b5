"""``proprelu sweep``: trains a model at several ratios with several seeds, and compares them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from functools import partial
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
    SettingsError,
    SweepSettings,
    as_option,
    new_folder,
    recorded_settings,
)
from proprelu.cli.sources import data_by_name, model_by_name
from proprelu.sweep import SweepResults
from proprelu.sweep import sweep as run_sweep
from proprelu.sweep.finite import finite

RESULTS = "results.sqlite"
# What a sweep that is continued may ask for anew; the file of results compares the rest.
_FREE = frozenset({"ratios", "placements", "seeds", "budget", "target", "threads", "workers"})


@with_settings(SweepSettings)
def sweep(
    *,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file with these settings; options given here win."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="The folder of a sweep to continue, perhaps with more seeds or ratios."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="The loss of accuracy that is accepted for speed, such as 0.005."
        ),
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output.")
    ] = False,
    **settings: Any,
) -> None:
    """Train a model at several ratios with several seeds, and say which ratio to take.

    The runs of a seed start with the same weights and use the same batches, so that ratios are
    compared in pairs, with a confidence interval. The folder of the sweep gets settings.toml,
    results.sqlite (every run; read it with any SQLite tool), table.csv, sweep.png and report.html.

    Examples:

    - `proprelu sweep resnet20 --ratios 1:1,2:1,3:1 --seeds 5`

    - `proprelu sweep resnet56 --data cifar10 --placements last,first,block_last --epochs 60`

    - `proprelu sweep --config settings.toml`

    - `proprelu sweep --resume runs/resnet20-sweep-fashion-mnist-small --seeds 10`
    """
    given = {name: value for name, value in settings.items() if value is not None}
    chosen, folder = _decide(given, config, resume)
    try:
        results = run(chosen, folder)
    except KeyboardInterrupt:
        again = f"; continue with: proprelu sweep --resume {shlex.quote(str(folder))}"
        typer.echo(f"interrupted{again if (folder / SETTINGS).exists() else ''}", err=True)
        raise typer.Exit(130) from None
    found = results.best(tolerance)
    if as_json:
        whole = {"out": str(folder), **_as_dict(results), "best": asdict(found)}
        print(json.dumps(finite(whole), indent=2, allow_nan=False))
        return
    Console().print(results)
    print(found.sentence)


def _decide(
    options: dict[str, Any], config: Path | None, resume: Path | None
) -> tuple[SweepSettings, Path]:
    """The settings and the folder of a sweep, from options, --config and --resume."""
    recorded = recorded_settings(SweepSettings(), options, config, resume, "sweep")
    settings = recorded.with_changes(options)
    if resume is not None:
        _check_changes(recorded, settings)
        return settings, resume
    folder = Path(settings.out) if settings.out is not None else new_folder(settings, "sweep")
    if (folder / RESULTS).exists():
        raise SettingsError(
            f"{folder} already holds a sweep; give another --out or --resume "
            f"{shlex.quote(str(folder))}"
        )
    return settings, folder


def _check_changes(recorded: SweepSettings, settings: SweepSettings) -> None:
    """Raise a ``SettingsError`` if a setting changes that all runs have to share."""
    for setting in fields(SweepSettings):
        name = setting.name
        was, now = getattr(recorded, name), getattr(settings, name)
        if was != now and name not in _FREE:
            raise SettingsError(
                f"{name} must be {as_option(was)} as in the sweep that is resumed, got "
                f"{as_option(now)}; begin another sweep"
            )


def run(settings: SweepSettings, folder: Path) -> SweepResults:
    """Make the runs that are missing, and write everything into the folder."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    data = data_by_name(settings.data)
    train = data.train
    if settings.images is not None:
        train = train.subset(range(min(settings.images, len(train))))
    build = partial(
        model_by_name,
        settings.model,
        num_classes=data.train.num_classes,
        in_channels=data.train.shape[3],
    )
    with _recorded(settings, folder):
        results = run_sweep(
            build,
            train,
            data.val,
            ratios=_names(settings.ratios),
            placements=_names(settings.placements),
            seeds=settings.seeds,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            optimizer=optimizer_of(settings),
            schedule=schedule_of(settings, settings.epochs),
            loss=loss_of(settings),
            augment=data.augment if settings.augment else None,
            precision=settings.precision,
            ema_decay=settings.ema_decay,
            clip_grad_norm=settings.clip_grad_norm,
            device=settings.device,
            budget=settings.budget,
            target=settings.target,
            file=folder / RESULTS,
            workers=settings.workers,
        )
    results.to_csv(folder / "table.csv")
    _draw(results, folder)
    return results


@contextmanager
def _recorded(settings: SweepSettings, folder: Path) -> Iterator[None]:
    """Write the settings, and take them back if an error ends the sweep before it has begun."""
    file = folder / SETTINGS
    before = file.read_text("utf-8") if file.exists() else None
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    write_text(file, settings.to_toml())
    try:
        yield
    except Exception:
        if before is not None:
            with suppress(OSError):  # the first error counts
                write_text(file, before)
        elif not (folder / RESULTS).exists():
            file.unlink()
            with suppress(OSError):  # another program uses it
                for each in absent:
                    each.rmdir()
        raise


def _draw(results: SweepResults, folder: Path) -> None:
    for name, write in (("sweep.png", results.plot), ("report.html", results.report)):
        try:
            write(folder / name)
        except ImportError as error:
            typer.echo(f"no {name}: {error}", err=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _as_dict(results: SweepResults) -> dict[str, Any]:
    """The statistics as JSON types."""
    return {
        "runs": len(results.runs),
        "summaries": [
            {**asdict(summary), "name": summary.variant.name} for summary in results.summaries
        ],
    }
