"""The time at which trainings reached an accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from works.recipe import Training

Summary = dict[str, Any]
Epochs = Sequence[dict[str, float]]


def reached(target: float, epochs: Epochs) -> int | None:
    """The number of epochs it took."""
    return next((n for n, epoch in enumerate(epochs, 1) if epoch["top1"] >= target), None)


def seconds_to(target: float, epochs: Epochs) -> float | None:
    """Seconds of training to the end of the first epoch with that accuracy."""
    count = reached(target, epochs)
    return None if count is None else sum(epoch["seconds"] for epoch in epochs[:count])


def without_setup(epochs: Epochs) -> Epochs:
    """The epochs with the median of the others as the time of the first, which sets up."""
    if len(epochs) < 2:
        return epochs
    usual = statistics.median(epoch["seconds"] for epoch in epochs[1:])
    return [{**epochs[0], "seconds": usual}, *epochs[1:]]


def summary(trainings: Sequence[Training], target: float) -> Summary:
    """Means and deviations of those that reached the accuracy, and of all final accuracies."""
    finished = [training["epochs"] for training in trainings]
    good = [epochs for epochs in finished if reached(target, epochs)]
    result: Summary = {
        "runs": len(finished),
        "reached": len(good),
        "final_top1": _spread([epochs[-1]["top1"] for epochs in finished]),
    }
    if good:
        counts = [reached(target, epochs) or 0 for epochs in good]
        times = [seconds_to(target, without_setup(epochs)) or 0.0 for epochs in good]
        elapsed = [epochs[n - 1]["elapsed"] for epochs, n in zip(good, counts, strict=True)]
        result["epochs"] = _spread(counts)
        result["training_seconds"] = _spread(times)
        result["all_seconds"] = _spread(elapsed)
    return result


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation, which is 0 for one value."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "deviation": deviation}


def line(name: str, found: Summary, target: float) -> str:
    """The line about one system."""
    final = found["final_top1"]
    ends = f"{100 * final['mean']:.2f}% ± {100 * final['deviation']:.2f} at the end"
    share = f"{found['reached']} of {found['runs']} runs reached {100 * target:g}%"
    if not found["reached"]:
        return f"{name}: {share}; {ends}"
    after = f"after {_number(found['training_seconds'])} s of training"
    epochs = f"{_number(found['epochs'], 1)} epochs"
    return (
        f"{name}: {share}, {after} ({epochs}), {_number(found['all_seconds'])} s with all; {ends}"
    )


def last_line(ours: str, found: dict[str, Summary], target: float) -> str:
    """The time of one of the systems, and the fastest peer's beside it."""
    times = {n: s["training_seconds"]["mean"] for n, s in found.items() if s["reached"]}
    own = times.pop(ours, None)
    if own is None:
        return f"{ours} has not reached {100 * target:g}%"
    mine = found[ours]
    text = (
        f"{ours} reaches {100 * target:g}% in {_number(mine['training_seconds'])} s of training, "
        f"{_number(mine['all_seconds'])} s with all ({mine['reached']} of {mine['runs']} runs)"
    )
    if not times:
        return text
    peer = min(times, key=lambda name: times[name])
    return f"{text}, {times[peer] / own:.2f} times as fast as {peer}"


def _number(spread: dict[str, float], digits: int = 2) -> str:
    return f"{spread['mean']:.{digits}f} ± {spread['deviation']:.{digits}f}"
