"""The page about the networks."""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
import torchvision
from harness import page

from catalog.check import CONVERTS, EXACT, FAILS, NO_SITE, Row

_HOW = {
    "symbolic": "`symbolic`: torch.fx traced it as it is.",
    "shapes": "`shapes`: with an `example_input`, because its forward reads shapes.",
    "modules": "`modules`: what cannot be traced stayed whole, as a module.",
}
_HEADER = "model | sites: | before: | at 2:1: | way | equal at 1:1 | seconds: | note"


def line(row: Row) -> str:
    """One network in a line, to show progress."""
    if row.outcome == CONVERTS:
        found = f"{row.before} -> {row.after}, {row.way}, {row.equal}, {row.seconds:.1f} s"
        return f"{row.name}: {found}{f' ({row.note})' if row.note else ''}"
    return f"{row.name}: {row.outcome}: {row.note or row.equal}"


def summary(rows: Sequence[Row]) -> str:
    """The number of networks of each kind."""
    tried = [row for row in rows if row.outcome != NO_SITE]
    converted = [row for row in tried if row.outcome == CONVERTS]
    exact = sum(row.equal == EXACT for row in converted)
    return (
        f"{len(converted)} of {len(tried)} networks convert; {exact} of them were run, and their "
        f"outputs at 1:1 are the same to the last bit. {len(rows) - len(tried)} have no site."
    )


def document(rows: Sequence[Row]) -> str:
    """In Markdown: what was tested, the table, and what has no site."""
    without = [row for row in rows if row.outcome == NO_SITE]
    reasons = sorted({row.note for row in without})
    listed = [f"No site, {why}: {_names(without, why)}." for why in reasons]
    intro = (
        f"What `convert` makes of every classifier of torchvision {_release(torchvision)}, of the "
        f"smallest network of each family of timm {_release(timm)}, and of some others, with torch "
        f"{_release(torch)}. Written by `make models`."
    )
    how = (
        "Random weights, in evaluation, one small image. *Sites* are activations after "
        "convolutions, ReLU and ReLU6 unless the note names others; the ratios are convolutions "
        'to activations, before and after `convert(model, "2:1")`. *Equal* compares the output '
        'of `convert(model, "1:1")` with the network\'s own. Seconds are those of a conversion, '
        "copy included, on one core."
    )
    ways = [f"- {text}" for way, text in _HOW.items() if any(row.way == way for row in rows)]
    return f"""# Models

{page.fill(intro)}

{page.fill(summary(rows))}

{page.fill(how)}

{chr(10).join(ways)}

{table([row for row in rows if row.outcome != NO_SITE])}

{(chr(10) * 2).join(map(page.fill, listed))}
"""


def table(rows: Sequence[Row]) -> str:
    """A row for each network with sites; what fails has its reason."""
    return page.table(_HEADER, map(_cells, rows))


def _cells(row: Row) -> list[object]:
    if row.outcome == FAILS and not row.before:
        return [row.name, *[""] * 6, f"fails: {row.note}"]
    cells = [row.name, row.sites, row.before, row.after, row.way, row.equal]
    return [*cells, f"{row.seconds:.1f}", row.note]


def _names(rows: Sequence[Row], why: str) -> str:
    return ", ".join(row.name for row in rows if row.note == why)


def _release(package: object) -> str:
    return str(getattr(package, "__version__", "")).partition("+")[0]
