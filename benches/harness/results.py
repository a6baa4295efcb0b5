"""The rows of a benchmark, and the JSON file that collects them over several runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.agreement import disagreements
from harness.arguments import RESULTS
from harness.rounds import Measured
from harness.store import write_json

Row = dict[str, Any]
Report = dict[str, Any]


def default_path(kind: str, device: str) -> Path:
    """`benches/results/KIND-DEVICE.json`."""
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return RESULTS / f"{kind}-{slug}.json"


def rows(measured: Measured, by_precision: bool = False) -> list[Row]:
    """A row for each system, with its ratio to the best peer."""
    return with_ratios(
        [
            {
                "work": measured.work.name,
                "system": run.system.name,
                "median_ms": run.median,
                "min_ms": min(run.times),
                "max_ms": max(run.times),
                "per_second": 1e3 * measured.work.batch / run.median,
                "ratio_to_best_peer": None,
                "floor_ms": measured.floor_ms(run.system.precision),
                "peak_mb": run.memory.get("peak"),
            }
            for run in measured.runs
        ],
        by_precision,
    )


def with_ratios(all_rows: Sequence[Row], by_precision: bool = False) -> list[Row]:
    """The rows with their ratios to the fastest system on the same work that is not ours."""

    def group(row: Row) -> tuple[str, bool]:
        return row["work"], by_precision and "bf16" in row["system"]

    best: dict[tuple[str, bool], float] = {}
    for row in all_rows:
        if not is_ours(row):
            best[group(row)] = min(row["median_ms"], best.get(group(row), row["median_ms"]))
    return [
        {
            **row,
            "ratio_to_best_peer": (
                best[group(row)] / row["median_ms"] if group(row) in best else None
            ),
        }
        for row in all_rows
    ]


def is_ours(row: Row) -> bool:
    return "proprelu" in row["system"]


def report(measured: Measured, by_precision: bool = False) -> Report:
    """The content of a file about one work."""
    floor = measured.floor
    versions = dict(floor["versions"])
    for run in measured.runs:
        versions.setdefault(run.system.kind, run.ready.get("version"))
    return {
        "machine": {**floor["machine"], "works": {measured.work.name: _details(measured)}},
        "versions": versions,
        "rows": rows(measured, by_precision),
    }


def _details(measured: Measured) -> dict[str, Any]:
    floor = measured.floor
    peaks = dict(floor["peaks"])
    return {
        **floor["cost"],
        "peak_bytes_per_second": peaks.pop("bytes"),
        "peak_flops_per_second": peaks,
        "rounds": max((len(run.times) for run in measured.runs), default=0),
        "reference_losses": floor["losses"],
        "reference_spread": floor["spread"],
        "first_losses": {run.system.name: run.ready["losses"] for run in measured.runs},
        "losses_disagree": disagreements(measured),
        "skipped": measured.skipped,
        "systems": {
            run.system.name: {
                "rounds": len(run.times),
                **{name: run.ready.get(name) for name in ("memory", "setup_s", "notes")},
            }
            for run in measured.runs
        },
    }


def merged(kept: Report | None, new: Report, by_system: bool) -> Report:
    """The new report, with the works of earlier runs that it does not contain.

    Args:
        by_system: keep systems of the same work too if they were not measured again. Else all
            systems of a work come from one run, in which they took turns.

    Raises:
        ValueError: they are of different machines.
    """
    if kept is None:
        return new
    machines = [_identity(report["machine"]) for report in (kept, new)]
    if machines[0] != machines[1]:
        raise ValueError(f"it has rows of {machines[0]}, these are of {machines[1]}")
    works = new["machine"]["works"]
    measured = {(row["work"], row["system"]) for row in new["rows"]}
    old = [
        row
        for row in kept["rows"]
        if (row["work"], row["system"]) not in measured and (by_system or row["work"] not in works)
    ]
    kept_works = kept["machine"].get("works", {})
    if by_system:
        works = {name: _merged_work(kept_works.get(name), about) for name, about in works.items()}
    all_rows = [*old, *new["rows"]]
    order = list(dict.fromkeys([*kept_works, *(row["work"] for row in all_rows)]))
    all_rows.sort(key=lambda row: order.index(row["work"]))
    return {
        "machine": {**new["machine"], "works": {**kept_works, **works}},
        "versions": {**kept["versions"], **new["versions"]},
        "rows": with_ratios(all_rows) if by_system else all_rows,
    }


def _identity(machine: dict[str, Any]) -> str:
    return str(machine.get("device") or machine["processor"])


def _merged_work(kept: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """The newest numbers, with the systems of both; a system that ran once is not skipped."""
    if kept is None:
        return new
    both = {name: {**kept[name], **new[name]} for name in ("first_losses", "systems", "skipped")}
    skipped = {name: why for name, why in both["skipped"].items() if name not in both["systems"]}
    wrong = [
        line
        for line in kept["losses_disagree"]
        if not any(line.startswith(f"{name}, ") for name in new["systems"])
    ]
    return {
        **new,
        **both,
        "skipped": skipped,
        "losses_disagree": [*wrong, *new["losses_disagree"]],
    }


def keep(path: Path, new: Report, by_system: bool = False) -> Report:
    """Merge a report into the file, and return its new content.

    Raises:
        SystemExit: the file has results of another machine.
    """
    kept = json.loads(path.read_text()) if path.exists() else None
    try:
        content = merged(kept, new, by_system)
    except ValueError as error:
        raise SystemExit(f"{path}: {error}; name another file with --json") from error
    write_json(path, content)
    return content
