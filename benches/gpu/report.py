"""What is printed: a table for each work, and the ratios that the aims are about."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gpu.measure import Measured, Run
from gpu.results import Row, disagreements, is_ours, rows, with_ratios
from gpu.systems import LOADER, OURS, RESIDENT
from gpu.works import CHECKED_STEPS

CLOCK = (
    "On the clock: whole training loops, from the order of the images over batch, augmentation, "
    "forward, loss and\nbackward to the optimizer. Ours has its metrics (loss, top-1, top-5) and "
    "what begins and ends an epoch on it;\nPyTorch's loops have neither metrics nor a look at the "
    "loss. Off the clock for all: imports, compiling,\ncapturing, trying algorithms, the upload of "
    "a data set that lies on the GPU, and warm steps before each turn,\nas many with a DataLoader "
    "as its workers have made ahead. The workers augment batch by batch.\nMemory is what torch's "
    "allocator reserved at most in training, with the data set where it lies on the GPU."
)
# Of a work: the least ratio to a system or, for None, to the best of PyTorch's.
_SPEED_AIMS = {
    "resnet20_2to1": ((LOADER.name, 8.0), ("best of resident and compiled", 1.3)),
    "resnet50": ((None, 1.1),),
}
# At most this share of the resident eager training's.
_MEMORY_AIM = 0.7


def print_report(measured: Measured) -> None:
    """The table and all that is worth a note."""
    work, floor = measured.work, measured.floor
    cost, peaks = floor["cost"], floor["peaks"]
    table = Table(
        title=f"{work.name}: {work.model} {work.ratio}, batch {work.batch} of "
        f"3x{work.size}x{work.size}, {cost['flops'] / 1e9:.1f} GFLOP and "
        f"{cost['bytes'] / 1e9:.2f} GB a step",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("system", no_wrap=True)
    titles = ("ms a step", "from-to", "images/s", "x best peer", "floor ms", "of floor")
    for title in (*titles, "reserved MB", "allocated MB", "set-up s", "first losses"):
        table.add_column(title, justify="right", no_wrap=True)
    for run, row in zip(measured.runs, with_ratios(rows(measured)), strict=True):
        table.add_row(*_cells(run, row))
    Console(width=180, color_system=None, highlight=False).print(table)
    print(
        f"floor: {cost['flops'] / peaks['flops'] * 1e3:.3f} ms for the operations at "
        f"{peaks['flops'] / 1e12:.1f} TFLOP/s of a large matrix product, "
        f"{cost['bytes'] / peaks['bytes'] * 1e3:.3f} ms for the bytes at "
        f"{peaks['bytes'] / 1e9:.0f} GB/s of a large copy; the longer one counts"
    )
    print(*_notes(measured), sep="\n", flush=True)


def _cells(run: Run, row: Row) -> list[str]:
    losses, memory = run.ready["losses"], run.ready["memory"] or {}
    return [
        row["system"],
        f"{row['median_ms']:.2f}",
        f"{row['min_ms']:.2f}-{row['max_ms']:.2f}",
        f"{row['per_second']:,.0f}",
        _number(row["ratio_to_best_peer"]),
        f"{row['floor_ms']:.2f}",
        f"{100 * row['floor_ms'] / row['median_ms']:.0f}%",
        _number(memory.get("reserved"), 0),
        _number(memory.get("allocated"), 0),
        f"{run.ready['setup_s']:.1f}",
        f"{losses[0]:.4f} .. {losses[-1]:.4f}",
    ]


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _notes(measured: Measured) -> list[str]:
    wrong = disagreements(measured)
    notes = [f"LOSSES DISAGREE: {line}" for line in wrong]
    if measured.runs and not wrong:
        notes.append(
            f"the losses of {CHECKED_STEPS} steps on one batch, without augmentation, are those of "
            "PyTorch in float64, as far as PyTorch's own of the same precision are"
        )
    notes += [f"{r.system.name}: {note}" for r in measured.runs for note in r.ready["notes"]]
    notes += [f"without {name}: {reason}" for name, reason in measured.skipped.items()]
    return [*(notes or ["nothing ran"]), ""]


def last_line(all_rows: Sequence[Row]) -> str:
    """The ratios that this benchmark is about, of all works that have them."""
    works = list(dict.fromkeys(row["work"] for row in all_rows))
    told = [_about(work, [row for row in all_rows if row["work"] == work]) for work in works]
    return f"{OURS.name}: {'; '.join(told) or 'nothing measured'}"


def _about(work: str, its_rows: Sequence[Row]) -> str:
    ours = _row(its_rows, OURS.name)
    if ours is None:
        return f"{work} not measured"
    told = []
    for peer, aim in _SPEED_AIMS.get(work, ((None, None),)):
        row = _peer(its_rows, peer)
        if row is not None:
            ratio = row["median_ms"] / ours["median_ms"]
            wanted = f" (aim {aim:g})" if aim else ""
            told.append(f"{ratio:.2f} times as fast as {peer or row['system']}{wanted}")
    resident = _row(its_rows, RESIDENT.name)
    if resident is not None and resident["peak_mb"] and ours["peak_mb"]:
        share = ours["peak_mb"] / resident["peak_mb"]
        told.append(f"{share:.2f} of the memory of {RESIDENT.name} (aim at most {_MEMORY_AIM:g})")
    return f"{work} {', '.join(told) or 'without a peer'}"


def _row(its_rows: Sequence[Row], name: str) -> Row | None:
    return next((row for row in its_rows if row["system"] == name), None)


def _peer(its_rows: Sequence[Row], name: str | None) -> Row | None:
    """A system, or the best of PyTorch's, all of them for None, else without the loader."""
    if name == LOADER.name:
        return _row(its_rows, name)
    peers = [row for row in its_rows if not is_ours(row)]
    if name is not None:
        peers = [row for row in peers if row["system"] != LOADER.name]
    return min(peers, key=lambda row: row["median_ms"], default=None)
