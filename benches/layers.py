"""Single layers, forward and backward: ours beside the plain way of writing them in PyTorch.

Every system is a process of its own; they are asked in turn, A B C A B C, one at a time. All have
the same input and weights, and what they compute has to agree; glibc's allocator is tuned to keep
what it has, for all alike. The plain way runs in both memory formats; the faster one is the peer.
Memory is the growth of the process in a step.

    python benches/layers.py --only covariance --rounds 15 --json benches/results/layers.json
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from side_by_side.arguments import chosen
from side_by_side.child import CannotRun
from side_by_side.report import processor
from single_layers.measure import Measured, Run, measure
from single_layers.systems import SYSTEMS
from single_layers.works import WORKS

_AIM = "covariance_pool"


def main() -> None:
    args = chosen(__doc__, WORKS, SYSTEMS)
    all_measured = []
    for work in args.works:
        try:
            measured = measure(work, args.systems, args.rounds)
        except CannotRun as reason:
            raise SystemExit(f"{work.name}: {reason}") from None
        print_report(measured)
        all_measured.append(measured)
        if args.json:
            write_json(args.json, all_measured)
    print(last_line(all_measured))
    if any(measured.disagreements() for measured in all_measured):
        raise SystemExit(1)


def rows(measured: Measured) -> list[dict[str, Any]]:
    """A row for each system, as all benchmarks write them."""
    return [_row(measured, run) for run in measured.runs]


def _row(measured: Measured, run: Run) -> dict[str, Any]:
    work, best = measured.work, measured.best_peer(run.system.precision)
    # the backward of a product is two more
    operations = 3 * 2 * work.macs
    return {
        "work": work.name,
        "system": run.system.name,
        "median_ms": run.median,
        "min_ms": min(run.times),
        "max_ms": max(run.times),
        "per_second": 1e3 * work.batch / run.median,
        "ratio_to_best_peer": best.median / run.median if best else None,
        "floor_ms": 1e3 * operations / measured.peaks[run.system.precision],
        "peak_mb": run.ready["peak_mb"],
    }


def print_report(measured: Measured) -> None:
    """A table, and whether all computed the same."""
    work = measured.work
    shape = f"{work.batch}x{work.channels}x{work.size}x{work.size}"
    table = Table(title=f"{work.name}, {shape}", title_justify="left", box=None, pad_edge=False)
    table.add_column("system", no_wrap=True)
    for title in ("ms", "from-to", "x best plain", "floor ms", "of floor", "peak MB"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows(measured):
        ratio, memory = row["ratio_to_best_peer"], row["peak_mb"]
        table.add_row(
            row["system"],
            f"{row['median_ms']:.2f}",
            f"{row['min_ms']:.2f}-{row['max_ms']:.2f}",
            "-" if ratio is None else f"{ratio:.2f}",
            f"{row['floor_ms']:.2f}",
            f"{100 * row['floor_ms'] / row['median_ms']:.0f}%",
            "-" if memory is None else f"{memory:.0f}",
        )
    Console(width=120, color_system=None, highlight=False).print(table)
    wrong = measured.disagreements()
    print("\n".join(f"RESULTS DISAGREE: {line}" for line in wrong) or "the results agree")
    print(flush=True)


def write_json(path: Path, all_measured: Sequence[Measured]) -> None:
    """Machine, versions, rows; rows of other works in the file stay."""
    names = {measured.work.name for measured in all_measured}
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    report = {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": all_measured[0].threads,
            "peak_flops_per_second": {m.work.name: m.peaks for m in all_measured},
            "rounds": len(all_measured[0].runs[0].times),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "rows": [row for row in kept if row["work"] not in names]
        + [row for measured in all_measured for row in rows(measured)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def last_line(all_measured: Sequence[Measured]) -> str:
    """The ratios that this benchmark is about."""
    measured = next((m for m in all_measured if m.work.name == _AIM), all_measured[-1])
    told = []
    for precision in ("fp32", "bf16"):
        ours = [r for r in measured.runs if r.system.is_ours and r.system.precision == precision]
        best, peer = min(ours, key=lambda r: r.median, default=None), measured.best_peer(precision)
        if best is None or peer is None:
            continue
        text = f"{peer.median / best.median:.2f} times the speed of plain PyTorch in {precision}"
        memory, theirs = best.ready["peak_mb"], peer.ready["peak_mb"]
        if memory is not None and theirs:
            text += f" with {memory / theirs:.2f} of its memory"
        told.append(text)
    what = f"proprelu computes {measured.work.name} at "
    return what + " and ".join(told) if told else "no ratio: it takes proprelu and torch"


if __name__ == "__main__":
    main()
