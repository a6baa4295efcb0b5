"""One training step, ours and PyTorch's ways to run the same network, in turn in one process.

The clock includes forward, loss, backward and optimizer step of one batch that is in memory; ours
also includes the augmentation-free loader, metrics and the loop. Every system has the same
network, weights, batch size and optimizer. Medians of steps, taken round by round: A B C, A B C.

    python benches/train_step.py --only resnet20_2to1 --rounds 15 --json results.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import proprelu
import torch
from torch import nn
from torch.nn import functional as F

BATCH_SIZE = 128
STEPS = 2
# Multiply-adds of the forward for one image; a step does three times as many.
FORWARD_MACS = 41e6
SIZE = 2048
WORKS = {"resnet20_1to1": "1:1", "resnet20_2to1": "2:1"}

System = Callable[[], float]


def eager(model: nn.Module, memory_format: torch.memory_format, bf16: bool) -> System:
    """PyTorch as people run it; gives seconds a step."""
    model = deepcopy(model).to(memory_format=memory_format).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(BATCH_SIZE, 3, 32, 32).contiguous(memory_format=memory_format)
    labels = torch.randint(0, 10, (BATCH_SIZE,))

    def run() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                predictions = model(images)
            optimizer.zero_grad()
            F.cross_entropy(predictions.float(), labels).backward()
            optimizer.step()
        return (time.perf_counter() - start) / STEPS

    return run


class _Clock:
    """A logger that reads the time of the training part of an epoch from its row."""

    seconds = 0.0

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None: ...

    def on_step(self, event: object) -> None: ...

    def on_epoch(self, row: dict[str, float]) -> None:
        self.seconds = BATCH_SIZE / row["images_per_s"]

    def on_fit_end(self) -> None: ...


def ours(model: nn.Module, precision: str) -> System:
    """Our loop, captured anew in every call; the capture is not on the clock."""
    images = np.random.randint(0, 256, (BATCH_SIZE * STEPS, 32, 32, 3), dtype=np.uint8)
    data = proprelu.as_dataset(images, np.random.randint(0, 10, len(images)))
    clock = _Clock()
    trainer = proprelu.Trainer(
        deepcopy(model),
        proprelu.SGD(lr=0.01),
        precision=precision,
        loggers=[clock],
        progress=False,
    )

    def run() -> float:
        trainer.fit(data, epochs=1, batch_size=BATCH_SIZE)
        return clock.seconds

    return run


def systems(ratio: str) -> dict[str, System]:
    torch.manual_seed(0)
    model = proprelu.models.create("resnet20", ratio=ratio)
    return {
        "eager NCHW fp32": eager(model, torch.contiguous_format, bf16=False),
        "eager channels_last fp32": eager(model, torch.channels_last, bf16=False),
        "eager channels_last bf16": eager(model, torch.channels_last, bf16=True),
        "proprelu fp32": ours(model, "fp32"),
        "proprelu bf16": ours(model, "bf16"),
    }


def bf16_peak() -> float:
    """Operations a second of a large bfloat16 matrix product, the fastest of a few."""
    a, b = (torch.randn(SIZE, SIZE, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * SIZE**3 / min(times)


def measure(work: str, rounds: int, floors: dict[str, float]) -> list[dict[str, object]]:
    runs = systems(WORKS[work])
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(1e3 * run())
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min(value for name, value in medians.items() if "proprelu" not in name)
    return [row(work, name, times[name], best, floors) for name in runs]


def row(
    work: str, system: str, times: list[float], best: float, floors: dict[str, float]
) -> dict[str, object]:
    median = statistics.median(times)
    return {
        "work": work,
        "system": system,
        "median_ms": median,
        "min_ms": min(times),
        "max_ms": max(times),
        "per_second": 1e3 * BATCH_SIZE / median,
        "ratio_to_best_peer": best / median,
        "floor_ms": floors["bf16" if "bf16" in system else "fp32"],
        "peak_mb": None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="works, by parts of their names, with commas")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--list", action="store_true", help="print the works and stop")
    args = parser.parse_args()
    works = [work for work in WORKS if any(part in work for part in args.only.split(","))]
    if args.list:
        print("\n".join(works))
        return
    # Operations over the rate of the processor, which multiplies half as many float32 numbers.
    bf16_floor = 1e3 * 6 * FORWARD_MACS * BATCH_SIZE / bf16_peak()
    floors = {"bf16": bf16_floor, "fp32": 2 * bf16_floor}
    rows = []
    for work in works:
        for result in measure(work, args.rounds, floors):
            rows.append(result)
            print(
                "{work:15} {system:26} {median_ms:7.1f} ms ({min_ms:.1f} to {max_ms:.1f})  "
                "{per_second:6.0f} images/s  {ratio_to_best_peer:.2f} of the best peer's speed  "
                "floor {floor_ms:.0f} ms".format(**result)
            )
    if args.json:
        machine = {"processor": platform.machine(), "threads": torch.get_num_threads()}
        versions = {"torch": torch.__version__, "proprelu": proprelu.__version__}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(
            json.dumps({"machine": machine, "versions": versions, "rows": rows}, indent=2) + "\n"
        )
    ratios = [r["ratio_to_best_peer"] for r in rows if r["system"] == "proprelu bf16"]
    print(f"proprelu bf16 runs at {statistics.median(ratios):.2f} times the best PyTorch's speed")


if __name__ == "__main__":
    main()
