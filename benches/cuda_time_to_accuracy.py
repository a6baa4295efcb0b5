"""How many seconds on a GPU until 93.5% of Fashion-MNIST's test images are classified correctly?

Each training is a process of its own, and is stored in the JSON file once it is finished, so that
an interrupted benchmark continues. The images are searched in `--data`, in $PROPRELU_DATA, and in
the other places of `proprelu.datasets.fashion_mnist`.

    python benches/cuda_time_to_accuracy.py --runs 10 --systems proprelu --data FOLDER
    python benches/cuda_time_to_accuracy.py --dry-run       # tiny, on the CPU; measures nothing
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from harness import arguments, times
from harness.child import CannotRun, python_child
from harness.results import default_path
from harness.rounds import Limit
from harness.store import Store
from harness.training import in_child
from systems.gpu import OURS, REDUCE_OVERHEAD, RESIDENT
from works.recipe import DRY, GPU_TIME_TO_ACCURACY, with_options

_SYSTEMS = (OURS, RESIDENT, REDUCE_OVERHEAD)
_CLOCK = """\
The clock of training covers the epochs up to the first after which the accuracy is reached: order,
batch, augmentation, forward, backward, optimizer. The first epoch counts as the median of the
others, as it contains the capture, or torch.compile, and the choice of algorithms. The clock of all
starts before the model is moved to the GPU and covers all of that, the upload, and the evaluation
after each epoch; not the start of the process, the imports, the reading of the files and the
drawing of the initial weights."""


def main() -> None:
    options = _parser()
    args = options.parse_args()
    systems = arguments.named(_SYSTEMS, args.systems)
    if args.list:
        arguments.print_names(system.name for system in systems)
    if args.runs < 1:
        options.error(f"--runs must be 1 or more, got {args.runs}")
    if not systems:
        options.error("no name contains this; see --list")
    names = ("epochs", "lr", "batch_size", "model", "ratio", "width")
    settings = {name: getattr(args, name) for name in names}
    recipe = with_options(DRY if args.dry_run else GPU_TIME_TO_ACCURACY, **settings)
    # A training that learns nothing reaches this too.
    target = 0.0 if args.dry_run else args.target
    device = "cpu" if args.dry_run else "cuda"
    data = None if args.data is None else str(args.data.resolve())
    train = in_child(device, Limit(args.minutes), data, small=args.dry_run)
    with tempfile.TemporaryDirectory() as folder:
        about = _machine(device)
        device = about["machine"].get("device", "cpu")
        dry = Path(folder) / "dry.json" if args.dry_run else default_path("cuda-time", device)
        store = Store(args.json or dry, recipe)
        store.about = about
        notes = store.complete(systems, args.runs, train)
        trainings = {system.name: list(store.of(system).values()) for system in _SYSTEMS}
        found = {name: times.summary(ts, target) for name, ts in trainings.items() if ts}
        store.about = {**about, "target": target, "summary": found}
        store.save()
    print(recipe.text(), _CLOCK, sep="\n")
    print(*(times.line(name, summary, target) for name, summary in found.items()), sep="\n")
    print(*notes, times.last_line(OURS.name, found, target), sep="\n")


def _parser() -> argparse.ArgumentParser:
    options = arguments.parser(__doc__)
    options.add_argument(
        "--systems", "--only", default="", help="by parts of their names, with commas"
    )
    options.add_argument("--runs", "--rounds", type=int, default=10, help="seeds from 0 on")
    options.add_argument("--target", type=float, default=0.935, help="a fraction of 1")
    options.add_argument("--epochs", type=int)
    options.add_argument("--lr", type=float, help="peak of the learning rate's cycle")
    options.add_argument("--batch-size", type=int)
    options.add_argument("--model", help="a ResNet of proprelu.models")
    options.add_argument("--ratio", help="convolutions to ReLUs")
    options.add_argument("--width", type=int, help="channels of the first stage")
    options.add_argument("--data", type=Path, help="a folder with Fashion-MNIST")
    options.add_argument("--json", type=Path, help="default: benches/results/cuda-time-DEVICE.json")
    options.add_argument("--list", action="store_true", help="print the systems and stop")
    arguments.limit_options(options)
    return options


def _machine(device: str) -> dict[str, Any]:
    """Machine and versions, from a child: torch cannot be imported here, see `harness/child.py`."""
    try:
        with python_child("harness.machine", {"device": device}) as child:
            return child.ready
    except CannotRun as reason:
        raise SystemExit(str(reason)) from None


if __name__ == "__main__":
    main()
