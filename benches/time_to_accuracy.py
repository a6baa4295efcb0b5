"""Seconds until 91% and 93% of Fashion-MNIST's test images are told right: ours, PyTorch's best.

One recipe for both. The clock runs over the training of the epochs up to the first one after which
the accuracy is reached: data, augmentation, forward, backward, optimizer. The evaluation after each
epoch, the imports, and the set-up (our capture, torch.compile) are not on it; the total with all of
that is reported beside it. Each finished training is kept in the JSON file, as in accuracy.py.

    python benches/time_to_accuracy.py --seeds 1
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from fashion.recipe import TIME_TO_ACCURACY, with_options
from fashion.store import Store, Training, run
from side_by_side.systems import BENCHES, SYSTEMS, System, system_named

TARGETS = (0.91, 0.93)
_OURS = System("proprelu", "bf16")
# Where no measurement names the fastest one.
_PEER = System("torch", "bf16", allocator="glibc tuned")
_STEPS = BENCHES / "results" / "train_step.json"
_RESULTS = BENCHES / "results" / "time_to_accuracy.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peer", help="a torch system of train_step.py; default: the fastest in its results"
    )
    parser.add_argument("--only", help="one of the two systems, by its full name in --list")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0 on")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lr", type=float, help="the top of the cycle")
    parser.add_argument("--limit", type=int, help="train and test on the first images only")
    parser.add_argument("--json", type=Path, default=_RESULTS, help="where trainings are kept")
    parser.add_argument("--list", action="store_true", help="print the systems and stop")
    args = parser.parse_args()
    if args.peer not in (None, *(s.name for s in SYSTEMS if s.kind == "torch")):
        parser.error(f"--peer must be a torch system of train_step.py --list, got {args.peer!r}")
    pair = (fastest_peer() if args.peer is None else system_named(args.peer), _OURS)
    if args.list:
        print("\n".join(system.name for system in pair))
        return
    systems = [system for system in pair if args.only in (None, system.name)]
    if not systems:
        parser.error(f"--only must be one of --list, got {args.only!r}")
    recipe = with_options(TIME_TO_ACCURACY, epochs=args.epochs, lr=args.lr, limit=args.limit)
    store = Store(args.json, recipe)
    notes = store.complete(systems, range(args.seeds), run)
    print(recipe.text())
    for system in pair:
        for line in lines(system, store):
            print(line)
    print(*notes, last_line(pair, store), sep="\n")


def fastest_peer() -> System:
    """PyTorch's fastest configuration on ResNet-20, if train_step.py has measured it here."""
    try:
        rows = json.loads(_STEPS.read_text())["rows"]
    except (OSError, ValueError):
        rows = []
    known = {system.name: system for system in SYSTEMS if system.kind == "torch"}
    mine = [r for r in rows if r["work"] == "resnet20_2to1" and r["system"] in known]
    fastest = min(mine, key=lambda row: row["median_ms"], default=None)
    return known[fastest["system"]] if fastest else _PEER


def seconds_to(target: float, training: Training) -> float | None:
    """Of training, to the end of the first epoch with that accuracy."""
    total = 0.0
    for epoch in training["epochs"]:
        total += epoch["seconds"]
        if epoch["top1"] >= target:
            return total
    return None


def lines(system: System, store: Store) -> list[str]:
    """A line for each seed."""
    told = []
    for seed, training in store.of(system).items():
        reached = ", ".join(
            f"{100 * target:.0f}% {_seconds(seconds_to(target, training))}" for target in TARGETS
        )
        last = 100 * training["epochs"][-1]["top1"]
        total = training["total_seconds"]
        told.append(
            f"{system.name}, seed {seed}: {reached}; {last:.2f}% at the end; {total:.0f} s in all"
        )
    return told


def last_line(pair: Sequence[System], store: Store) -> str:
    """The ratios that this benchmark is about."""
    ratios = []
    for target in TARGETS:
        medians = []
        for system in pair:
            times = [seconds_to(target, t) for t in store.of(system).values()]
            reached = [time for time in times if time is not None]
            medians.append(statistics.median(reached) if reached else None)
        theirs, ours = medians
        ratio = f"{theirs / ours:.2f} times as fast" if theirs and ours else "not reached by both"
        ratios.append(f"to {100 * target:.0f}% {ratio}")
    return f"proprelu bf16 beside the best PyTorch: {', '.join(ratios)}"


def _seconds(value: float | None) -> str:
    return "not reached" if value is None else f"after {value:.0f} s"


if __name__ == "__main__":
    main()
