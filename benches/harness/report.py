"""The printed report of one work: a table, and remarks below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from harness.agreement import disagreements
from harness.results import Row
from harness.rounds import Measured, Run

# Share of a processor that a system may use while another one is timed.
_MOST_IDLE_SHARE = 0.01


def number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(peer: Run | None, run: Run) -> float | None:
    """How many times as fast as a peer a system is."""
    return None if peer is None else peer.median / run.median


def _first_losses(run: Run) -> str:
    losses = run.ready["losses"]
    return f"{losses[0]:.4f} .. {losses[-1]:.4f}"


_CELLS: dict[str, Callable[[Measured, Run, Row], str]] = {
    "ms a step": lambda m, run, row: number(row["median_ms"]),
    "from-to": lambda m, run, row: f"{number(row['min_ms'])}-{number(row['max_ms'])}",
    "images/s": lambda m, run, row: number(row["per_second"], 0),
    "x best peer": lambda m, run, row: number(row["ratio_to_best_peer"]),
    "x best of precision": lambda m, run, row: number(
        ratio(m.best_peer(run.system.precision), run)
    ),
    "floor ms": lambda m, run, row: number(row["floor_ms"]),
    "of floor": lambda m, run, row: f"{100 * row['floor_ms'] / row['median_ms']:.0f}%",
    "peak MB": lambda m, run, row: number(row["peak_mb"], 0),
    "allocated MB": lambda m, run, row: number(run.memory.get("allocated"), 0),
    "set-up s": lambda m, run, row: number(run.ready.get("setup_s"), 1),
    "first losses": lambda m, run, row: _first_losses(run),
}


def print_report(
    measured: Measured, rows: Sequence[Row], title: str, columns: Sequence[str], checked: str
) -> None:
    """Print the table with some of the columns above, and the remarks.

    Args:
        checked: what has to agree, "losses ..." or "results".
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("system", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for run, row in zip(measured.runs, rows, strict=True):
        table.add_row(row["system"], *(_CELLS[column](measured, run, row) for column in columns))
    Console(width=180, color_system=None, highlight=False).print(table)
    print(*_remarks(measured, checked), "", sep="\n", flush=True)


def _remarks(measured: Measured, checked: str) -> list[str]:
    peaks = dict(measured.floor["peaks"])
    copied = peaks.pop("bytes")
    rates = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in peaks.items())
    remarks = [f"peak in GFLOP/s: {rates}; of a large copy in GB/s: {copied / 1e9:,.1f}"]
    wrong = disagreements(measured)
    remarks += [f"{checked.split()[0].upper()} DISAGREE: {line}" for line in wrong]
    if not measured.runs:
        remarks.append("nothing ran")
    elif not wrong:
        remarks.append(f"the {checked} agree")
    for run in measured.runs:
        if run.idle_share > _MOST_IDLE_SHARE:
            share = f"{100 * run.idle_share:.1f}% of a processor"
            remarks.append(f"NOT ASLEEP: {run.system.name} used {share} while others ran")
        remarks += [f"{run.system.name}: {note}" for note in run.ready.get("notes", ())]
    remarks += [f"without {name}: {reason}" for name, reason in measured.skipped.items()]
    return remarks
