"""Seconds on a GPU until 93.5% of Fashion-MNIST's test images are told right, over many trainings.

Each training is a process of its own, and is kept in the JSON file once it is finished, so that an
interrupted benchmark goes on. The images are looked for in `--data`, in $PROPRELU_DATA and where
`proprelu.datasets.fashion_mnist` looks besides.

    python benches/cuda_time_to_accuracy.py --runs 10 --systems proprelu --data FOLDER
    python benches/cuda_time_to_accuracy.py --dry-run       # tiny and on the CPU; measures nothing
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fashion.recipe import Recipe, with_options
from fashion.store import Store, Training
from gpu import results, time_report
from gpu.start import Limit, started
from gpu.systems import OURS, REDUCE_OVERHEAD, RESIDENT, GpuSystem, is_named
from gpu.time_recipe import DRY, GpuRecipe
from side_by_side.child import CannotRun

SYSTEMS = (OURS, RESIDENT, REDUCE_OVERHEAD)
TARGET = 0.935
# An accuracy that a training that learns nothing has too.
_DRY_TARGET = 0.0
# To say what machine it is.
_ASKING_SECONDS = 120.0


def main() -> None:
    parser = _parser()
    args = parser.parse_args()
    systems = [system for system in SYSTEMS if is_named(system.name, args.systems)]
    if args.list:
        print("\n".join(system.name for system in systems))
        return
    if args.runs < 1:
        parser.error(f"--runs must be 1 or more, got {args.runs}")
    if not systems:
        parser.error("nothing has such a name; see --list")
    recipe = _recipe(args)
    target = _DRY_TARGET if args.dry_run else args.target
    with tempfile.TemporaryDirectory() as folder:
        about = _machine(args.dry_run)
        path = args.json or (
            Path(folder) / "dry.json"
            if args.dry_run
            else results.default_path("cuda-time", about["machine"]["device"])
        )
        store = Store(path, recipe)
        store.about = about
        notes = store.complete(systems, range(args.runs), _trainer(args))
        told = time_report.summaries(store, SYSTEMS, target)
        store.about = {**about, "target": target, "summary": told}
        store.save()
    print(recipe.text(), time_report.CLOCK, sep="\n")
    print(*(time_report.line(name, summary, target) for name, summary in told.items()), sep="\n")
    print(*notes, time_report.last_line(told, target), sep="\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--systems", "--only", default="", help="by parts of their names, with commas"
    )
    parser.add_argument("--runs", "--rounds", type=int, default=10, help="seeds from 0 on")
    parser.add_argument("--target", type=float, default=TARGET, help="a fraction of 1")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lr", type=float, help="the top of the cycle")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--model", help="a ResNet of proprelu.models")
    parser.add_argument("--ratio", help="convolutions to ReLUs")
    parser.add_argument("--width", type=int, help="channels of the first stage")
    parser.add_argument("--data", type=Path, help="a folder with Fashion-MNIST")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="what is not finished then is run the next time"
    )
    parser.add_argument(
        "--json", type=Path, help="default: benches/results/cuda-time-DEVICE.json; none when dry"
    )
    parser.add_argument("--list", action="store_true", help="print the systems and stop")
    parser.add_argument("--dry-run", action="store_true", help="all of it, tiny, on the CPU")
    return parser


def _recipe(args: argparse.Namespace) -> GpuRecipe:
    names = ("epochs", "lr", "batch_size", "model", "ratio", "width")
    recipe = with_options(
        DRY if args.dry_run else GpuRecipe(), **{name: getattr(args, name) for name in names}
    )
    assert isinstance(recipe, GpuRecipe)
    return recipe


def _machine(dry: bool) -> dict[str, Any]:
    """Machine and versions, from a child: see start.py why torch is not imported here."""
    try:
        with started(["machine", *["dry"] * dry], _ASKING_SECONDS) as child:
            return child.ready
    except CannotRun as reason:
        raise SystemExit(str(reason)) from None


def _trainer(args: argparse.Namespace) -> Callable[[GpuSystem, int, Recipe], Training]:
    """Runs one training in its process, within the time that is left."""
    limit = Limit(args.minutes)
    data = "" if args.data is None else str(args.data.resolve())

    def train(system: GpuSystem, seed: int, recipe: Recipe) -> Training:
        arguments = ["time", system.name, str(seed), json.dumps(recipe.to_dict()), data]
        try:
            with started([*arguments, *["dry"] * args.dry_run], limit.left()) as child:
                return child.ready
        except CannotRun as reason:
            return {"skip": str(reason)}

    return train


if __name__ == "__main__":
    main()
