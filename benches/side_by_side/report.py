"""From what was measured to rows, a table, the agreement of the losses, and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from side_by_side.measure import Measured, Run

# Of a loss, how far a system may be off in any case: float32 adds in another order, bfloat16
# rounds.
_TOLERANCES = {"fp32": 1e-3, "bf16": 3e-2}
# And of PyTorch's own spread, if that is more.
_SPREADS = 3
# Of a processor, what a system may take while another one is timed.
_MOST_IDLE_SHARE = 0.01

Row = dict[str, Any]


def rows(measured: Measured) -> list[Row]:
    """A row for each system, as all benchmarks write them."""
    medians = {run.system.name: statistics.median(run.times) for run in measured.runs}
    best = best_peer(measured)
    return [
        {
            "work": measured.work.name,
            "system": run.system.name,
            "median_ms": medians[run.system.name],
            "min_ms": min(run.times),
            "max_ms": max(run.times),
            "per_second": 1e3 * measured.work.batch / medians[run.system.name],
            "ratio_to_best_peer": (
                medians[best.system.name] / medians[run.system.name] if best else None
            ),
            "floor_ms": 1e3 * measured.flops / measured.peaks[run.system.precision],
            "peak_mb": run.ready.get("peak_mb"),
        }
        for run in measured.runs
    ]


def best_peer(
    measured: Measured, precision: str | None = None, kind: str | None = None
) -> Run | None:
    """The fastest system that is not ours, of a precision or kind if one is named."""
    peers = [
        run
        for run in measured.runs
        if not run.system.is_ours
        and precision in (None, run.system.precision)
        and kind in (None, run.system.kind)
    ]
    return min(peers, key=lambda run: statistics.median(run.times), default=None)


def ratio_to(peer: Run | None, run: Run) -> float | None:
    """How many times as fast as a peer."""
    if peer is None:
        return None
    return statistics.median(peer.times) / statistics.median(run.times)


def disagreements(measured: Measured) -> list[str]:
    """Systems whose losses of the first steps are not PyTorch's in float64, step by step."""
    wrong = []
    for run in measured.runs:
        precision = run.system.precision
        spread = measured.spread[precision]
        for line in wrong_losses(run.ready["losses"], measured.losses, spread, precision):
            wrong.append(f"{run.system.name}, {line}")
    return wrong


def wrong_losses(
    losses: Sequence[float], expected: Sequence[float], spread: Sequence[float], precision: str
) -> list[str]:
    """Steps whose loss is further off than rounding leads."""
    wrong = []
    for step, (loss, right, own) in enumerate(zip(losses, expected, spread, strict=True), 1):
        off = abs(loss - right) / right
        allowed = max(_TOLERANCES[precision], _SPREADS * own)
        if not off <= allowed:
            wrong.append(
                f"step {step}: {loss:.5f} where PyTorch in float64 has {right:.5f}, off by "
                f"{100 * off:.2g}%, {100 * allowed:.2g}% are allowed"
            )
    return wrong


def print_report(measured: Measured) -> None:
    """The table and all that is worth a note."""
    work = measured.work
    table = Table(
        title=f"{work.name}: {work.model} {work.ratio}, batch {work.batch} of "
        f"3x{work.size}x{work.size}, {measured.flops / 1e9:.1f} GFLOP a step",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("system", no_wrap=True)
    titles = ("ms a step", "from-to", "images/s", "x best peer", "x best of precision")
    for title in (*titles, "floor ms", "of floor", "peak MB", "first losses"):
        table.add_column(title, justify="right", no_wrap=True)
    for run, row in zip(measured.runs, rows(measured), strict=True):
        table.add_row(*_cells(measured, run, row))
    console = Console(width=170, color_system=None, highlight=False)
    console.print(table)
    peaks = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in measured.peaks.items())
    print(f"peak GFLOP/s of torch's matrix product: {peaks}")
    wrong = disagreements(measured)
    print(
        "\n".join(f"LOSSES DISAGREE: {line}" for line in wrong)
        if wrong
        else f"the losses of the first {len(measured.losses)} steps agree"
        if measured.runs
        else "nothing ran"
    )
    for run in measured.runs:
        if run.idle_share > _MOST_IDLE_SHARE:
            share = 100 * run.idle_share
            print(f"NOT ASLEEP: {run.system.name} took {share:.1f}% of a processor while idle")
    for name, reason in measured.skipped.items():
        print(f"without {name}: {reason}")
    print(flush=True)


def _cells(measured: Measured, run: Run, row: Row) -> list[str]:
    of_precision = ratio_to(best_peer(measured, run.system.precision), run)
    losses = run.ready["losses"]
    return [
        row["system"],
        f"{row['median_ms']:.1f}",
        f"{row['min_ms']:.1f}-{row['max_ms']:.1f}",
        f"{row['per_second']:,.0f}",
        _number(row["ratio_to_best_peer"]),
        _number(of_precision),
        f"{row['floor_ms']:.1f}",
        f"{100 * row['floor_ms'] / row['median_ms']:.0f}%",
        _number(row["peak_mb"], 0),
        f"{losses[0]:.4f} .. {losses[-1]:.4f}",
    ]


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def write_json(path: Path, all_measured: Sequence[Measured]) -> None:
    """Machine, versions, rows. What belongs to a run as a whole is beside the machine."""
    versions = {"python": platform.python_version()}
    for measured in all_measured:
        versions["torch"] = measured.torch
        for run in measured.runs:
            versions[run.system.kind] = run.ready.get("version", "")
    report = {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": all_measured[0].threads if all_measured else None,
            "works": {measured.work.name: _details(measured) for measured in all_measured},
        },
        "versions": versions,
        "rows": [row for measured in all_measured for row in rows(measured)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def _details(measured: Measured) -> dict[str, Any]:
    return {
        "flops": measured.flops,
        "peak_flops_per_second": measured.peaks,
        "rounds": len(measured.runs[0].times) if measured.runs else 0,
        "reference_losses": measured.losses,
        "reference_spread": measured.spread,
        "first_losses": {run.system.name: run.ready["losses"] for run in measured.runs},
        "losses_disagree": disagreements(measured),
        "skipped": measured.skipped,
    }


def processor() -> str:
    """The name that the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
