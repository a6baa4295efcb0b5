"""From epochs to the time at which an accuracy was reached, over many trainings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from fashion.store import Store, Training

from gpu.systems import OURS, GpuSystem

Summary = dict[str, Any]
Epochs = Sequence[dict[str, float]]

CLOCK = (
    "The clock of training runs over the epochs up to the first after which the accuracy is "
    "reached: order, batch,\naugmentation, forward, backward, optimizer. The first epoch counts "
    "as the median of the others, as it has the\ncapture, or torch.compile, and the choice of "
    "algorithms in it. The clock of all begins before the model goes\nto the GPU and has all of "
    "that on it, and the upload and the evaluation after each epoch too; not on it are the\nstart "
    "of the process, the imports, the reading of the files and the drawing of the first weights."
)


def reached(epochs: Epochs, target: float) -> int | None:
    """How many epochs it took."""
    return next((n for n, epoch in enumerate(epochs, 1) if epoch["top1"] >= target), None)


def training_seconds(epochs: Epochs, count: int) -> float:
    """Of the first `count` epochs, without what sets up in the first."""
    seconds = [epoch["seconds"] for epoch in epochs]
    if len(seconds) > 1:
        seconds[0] = statistics.median(seconds[1:])
    return sum(seconds[:count])


def summary(trainings: Sequence[Training], target: float) -> Summary:
    """Means and deviations of those that reached the accuracy, and of all accuracies."""
    finished = [training["epochs"] for training in trainings]
    told: Summary = {
        "runs": len(finished),
        "reached": 0,
        "final_top1": _spread([epochs[-1]["top1"] for epochs in finished]),
    }
    counts = [(epochs, reached(epochs, target)) for epochs in finished]
    good = [(epochs, count) for epochs, count in counts if count is not None]
    if good:
        training = [training_seconds(epochs, count) for epochs, count in good]
        told["reached"] = len(good)
        told["epochs"] = _spread([count for _, count in good])
        told["training_seconds"] = _spread(training)
        told["all_seconds"] = _spread([epochs[count - 1]["elapsed"] for epochs, count in good])
    return told


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation; of one value the latter is 0."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "deviation": deviation}


def summaries(store: Store, systems: Sequence[GpuSystem], target: float) -> dict[str, Summary]:
    """Of each system with a training."""
    trainings = {system.name: list(store.of(system).values()) for system in systems}
    return {name: summary(those, target) for name, those in trainings.items() if those}


def line(name: str, told: Summary, target: float) -> str:
    """A system's."""
    final = told["final_top1"]
    ends = f"{100 * final['mean']:.2f}% ± {100 * final['deviation']:.2f} at the end"
    share = f"{told['reached']} of {told['runs']} runs reached {100 * target:g}%"
    if not told["reached"]:
        return f"{name}: {share}; {ends}"
    alone, everything, epochs = (
        f"{told[key]['mean']:.{digits}f} ± {told[key]['deviation']:.{digits}f}"
        for key, digits in (("training_seconds", 2), ("all_seconds", 2), ("epochs", 1))
    )
    return (
        f"{name}: {share}, after {alone} s of training ({epochs} epochs), {everything} s with all; "
        f"{ends}"
    )


def last_line(told: dict[str, Summary], target: float) -> str:
    """The time that this benchmark is about, and the fastest peer's beside it."""
    times = {n: s["training_seconds"]["mean"] for n, s in told.items() if s["reached"]}
    ours = times.pop(OURS.name, None)
    if ours is None:
        return f"{OURS.name} has not reached {100 * target:g}%"
    mine = told[OURS.name]
    text = (
        f"{OURS.name} reaches {100 * target:g}% in {ours:.2f} s ± "
        f"{mine['training_seconds']['deviation']:.2f} of training, "
        f"{mine['all_seconds']['mean']:.2f} s ± {mine['all_seconds']['deviation']:.2f} with all "
        f"({mine['reached']} of {mine['runs']} runs)"
    )
    if not times:
        return text
    peer = min(times, key=lambda name: times[name])
    return f"{text}, {times[peer] / ours:.2f} times as fast as {peer}"
