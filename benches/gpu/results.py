"""From what was measured to rows, and rows of several runs in one JSON file."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from side_by_side.report import wrong_losses
from side_by_side.systems import BENCHES

from gpu.cost import Cost
from gpu.measure import Measured, Run

Row = dict[str, Any]
Report = dict[str, Any]
_OURS = "proprelu"


def default_path(kind: str, device: str) -> Path:
    """`benches/results/KIND-DEVICE.json`."""
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return BENCHES / "results" / f"{kind}-{slug}.json"


def rows(measured: Measured) -> list[Row]:
    """A row for each system, without the ratio, which depends on who else there is."""
    peaks = measured.floor["peaks"]
    floor = Cost(**measured.floor["cost"]).milliseconds(peaks["flops"], peaks["bytes"])
    return [
        {
            "work": measured.work.name,
            "system": run.system.name,
            "median_ms": statistics.median(run.times),
            "min_ms": min(run.times),
            "max_ms": max(run.times),
            "per_second": 1e3 * measured.work.batch / statistics.median(run.times),
            "ratio_to_best_peer": None,
            "floor_ms": floor,
            "peak_mb": (run.ready["memory"] or {}).get("reserved"),
        }
        for run in measured.runs
    ]


def with_ratios(all_rows: Sequence[Row]) -> list[Row]:
    """Each beside the fastest system that is not ours on the same work."""
    best: dict[str, float] = {}
    for row in all_rows:
        if not is_ours(row):
            best[row["work"]] = min(row["median_ms"], best.get(row["work"], row["median_ms"]))
    return [
        {
            **row,
            "ratio_to_best_peer": (
                best[row["work"]] / row["median_ms"] if row["work"] in best else None
            ),
        }
        for row in all_rows
    ]


def is_ours(row: Row) -> bool:
    return _OURS in row["system"]


def disagreements(measured: Measured) -> list[str]:
    """Systems whose losses are not PyTorch's in float64, step by step."""
    floor = measured.floor
    return [
        f"{run.system.name}, {line}"
        for run in measured.runs
        for line in wrong_losses(
            run.ready["losses"],
            floor["losses"],
            floor["spread"][run.system.precision],
            run.system.precision,
        )
    ]


def report(measured: Measured) -> Report:
    """What goes into the file of one work."""
    floor, work = measured.floor, measured.work
    about = {
        "batch": work.batch,
        "size": work.size,
        **floor["cost"],
        "peaks_per_second": floor["peaks"],
        "reference_losses": floor["losses"],
        "reference_spread": floor["spread"],
        "losses_disagree": disagreements(measured),
        "skipped": measured.skipped,
        "systems": {run.system.name: _details(run) for run in measured.runs},
    }
    machine = {**floor["machine"], "works": {work.name: about}}
    return {"machine": machine, "versions": floor["versions"], "rows": with_ratios(rows(measured))}


def _details(run: Run) -> dict[str, Any]:
    return {"rounds": len(run.times), **run.ready}


def merged(kept: Report | None, new: Report) -> Report:
    """Rows of earlier runs that this one has not measured again, and the new ones.

    Raises:
        ValueError: they are of different devices.
    """
    if kept is None:
        return new
    devices = kept["machine"]["device"], new["machine"]["device"]
    if devices[0] != devices[1]:
        raise ValueError(f"it has rows of {devices[0]}, these are of {devices[1]}")
    again = {(row["work"], row["system"]) for row in new["rows"]}
    old = [row for row in kept["rows"] if (row["work"], row["system"]) not in again]
    works = dict(kept["machine"]["works"])
    for name, about in new["machine"]["works"].items():
        works[name] = _merged_work(works.get(name), about)
    all_rows = sorted([*old, *new["rows"]], key=lambda row: list(works).index(row["work"]))
    return {
        "machine": {**new["machine"], "works": works},
        "versions": new["versions"],
        "rows": with_ratios(all_rows),
    }


def _merged_work(kept: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """The newest of all, with the systems of both; who ran once is not skipped."""
    if kept is None:
        return new
    systems = {**kept["systems"], **new["systems"]}
    skipped = {**kept["skipped"], **new["skipped"]}
    wrong = [
        line
        for line in kept["losses_disagree"]
        if not any(line.startswith(f"{name}, ") for name in new["systems"])
    ]
    return {
        **new,
        "losses_disagree": [*wrong, *new["losses_disagree"]],
        "skipped": {name: why for name, why in skipped.items() if name not in systems},
        "systems": systems,
    }


def keep(path: Path, new: Report) -> Report:
    """Merge it into the file; what the file has then.

    Raises:
        SystemExit: the file is another device's.
    """
    kept = json.loads(path.read_text()) if path.exists() else None
    try:
        content = merged(kept, new)
    except ValueError as error:
        raise SystemExit(f"{path}: {error}; name another file with --json") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    part.replace(path)
    return content
