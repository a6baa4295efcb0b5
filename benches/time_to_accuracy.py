"""How many seconds until 91% and 93% of Fashion-MNIST's test images are classified correctly?

proprelu and the best configuration of PyTorch train with one recipe. The clock covers the training
of the epochs up to the first one after which the accuracy is reached: data, augmentation, forward,
backward, optimizer. It does not cover the evaluation after each epoch, the imports, and the set-up
(our capture, torch.compile); the total with all of that is printed beside it. Each finished
training is stored in the JSON file, as in accuracy.py.

    python benches/time_to_accuracy.py --seeds 1
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

from harness.arguments import RESULTS, chosen_one, training_parser
from harness.machine import processor
from harness.store import Store
from harness.system import System
from harness.times import seconds_to
from harness.training import in_child
from systems.cpu import CPU_SYSTEMS, OURS, torch_system, with_allocator
from works.recipe import TIME_TO_ACCURACY, Recipe, with_options

_TARGETS = (0.91, 0.93)
# Used where no measurement shows which one is the fastest.
_PEER = with_allocator(torch_system("bf16"), "glibc tuned")


def main() -> None:
    options = training_parser(__doc__, "time_to_accuracy", seeds=1, table=False)
    options.add_argument(
        "--peer", help="a torch system of train_step.py; default: the fastest in its results"
    )
    options.add_argument("--lr", type=float, help="peak of the learning rate's cycle")
    args = options.parse_args()
    peers = {system.name: system for system in CPU_SYSTEMS if system.kind == "torch"}
    if args.peer not in (None, *peers):
        options.error(f"--peer must be a torch system of train_step.py --list, got {args.peer!r}")
    pair = (_fastest(peers) if args.peer is None else peers[args.peer], OURS)
    systems = chosen_one(options, args, pair)
    settings = {name: getattr(args, name) for name in ("epochs", "lr", "limit")}
    store = Store(args.json, with_options(TIME_TO_ACCURACY, **settings))
    notes = store.complete(systems, args.seeds, in_child("cpu"))
    print(store.recipe.text())
    for system in pair:
        print(*_lines(system, store), sep="\n")
    print(*notes, _last_line(pair, store), sep="\n")


def _fastest(peers: dict[str, System]) -> System:
    """PyTorch's fastest configuration on ResNet-20, if train_step.py has measured it here."""
    results = [json.loads(path.read_text()) for path in RESULTS.glob("train_step-*.json")]
    here = [found for found in results if found["machine"]["processor"] == processor()]
    rows = [row for found in here for row in found["rows"]]
    known = [r for r in rows if r["work"] == "resnet20_2to1" and r["system"] in peers]
    fastest = min(known, key=lambda row: row["median_ms"], default=None)
    return peers[fastest["system"]] if fastest else _PEER


def _lines(system: System, store: Store[Recipe]) -> list[str]:
    """A line for each seed."""
    lines = []
    for seed, training in store.of(system).items():
        times = [(target, seconds_to(target, training["epochs"])) for target in _TARGETS]
        reached = ", ".join(
            f"{100 * target:.0f}% " + ("not reached" if time is None else f"after {time:.0f} s")
            for target, time in times
        )
        last, total = 100 * training["epochs"][-1]["top1"], training["total_seconds"]
        end = f"{last:.2f}% at the end; {total:.0f} s in all"
        lines.append(f"{system.name}, seed {seed}: {reached}; {end}")
    return lines


def _last_line(pair: Sequence[System], store: Store[Recipe]) -> str:
    """The ratios that this benchmark is about."""
    ratios = []
    for target in _TARGETS:
        medians = []
        for system in pair:
            times = [seconds_to(target, t["epochs"]) for t in store.of(system).values()]
            reached = [time for time in times if time is not None]
            medians.append(statistics.median(reached) if reached else None)
        theirs, ours = medians
        ratio = f"{theirs / ours:.2f} times as fast" if theirs and ours else "not reached by both"
        ratios.append(f"to {100 * target:.0f}% {ratio}")
    return f"proprelu bf16 beside the best PyTorch: {', '.join(ratios)}"


if __name__ == "__main__":
    main()
