"""The page about the networks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import timm
import torch
import torchvision

from catalog.check import CONVERTS, EXACT, FAILS, NO_SITE, Row

_HOW = {
    "symbolic": "`symbolic`: torch.fx traced it as it is.",
    "shapes": "`shapes`: with an `example_input`, whose shapes the forward asks for.",
    "modules": "`modules`: what cannot be traced stayed whole, as a module.",
}


def line(row: Row) -> str:
    """For somebody who waits."""
    if row.outcome == CONVERTS:
        told = f"{row.before} -> {row.after}, {row.way}, {row.equal}, {row.seconds:.1f} s"
        return f"{row.name}: {told}{f' ({row.note})' if row.note else ''}"
    return f"{row.name}: {row.outcome}: {row.note or row.equal}"


def summary(rows: Sequence[Row]) -> str:
    """How many there are of each kind."""
    tried = [row for row in rows if row.outcome != NO_SITE]
    converted = [row for row in tried if row.outcome == CONVERTS]
    exact = sum(row.equal == EXACT for row in converted)
    return (
        f"{len(converted)} of {len(tried)} networks convert; {exact} of them were run and give at "
        f"1:1 to the last bit what they gave before. {len(rows) - len(tried)} have no site."
    )


def document(rows: Sequence[Row]) -> str:
    """In Markdown: what was asked, the table, what has no site."""
    without = [row for row in rows if row.outcome == NO_SITE]
    reasons = sorted({row.note for row in without})
    listed = [f"No site, {why}: {_names(without, why)}." for why in reasons]
    how = (
        "Random weights, in evaluation, one small image. *Sites* are activations after "
        "convolutions, ReLU and ReLU6 unless the note names others; the ratios are convolutions "
        'to activations, before and after `convert(model, "2:1")`. *Equal* compares the output '
        'of `convert(model, "1:1")` with the network\'s own. Seconds are those of a conversion, '
        "copy included, on one core."
    )
    return f"""# Models

What `convert` makes of every classifier of torchvision {_release(torchvision)}, of the smallest
network of each family of timm {_release(timm)}, and of some others, with torch
{_release(torch)}. Written by `make models`.

{_fill(summary(rows))}

{_fill(how)}

{chr(10).join(f"- {text}" for way, text in _HOW.items() if any(r.way == way for r in rows))}

{table([row for row in rows if row.outcome != NO_SITE])}

{(chr(10) * 2).join(map(_fill, listed))}
"""


def table(rows: Sequence[Row]) -> str:
    """A row for each network that has sites, or may have some; what fails says why."""
    lines = [
        "| model | sites | before | at 2:1 | way | equal at 1:1 | seconds | note |",
        "| --- | ---: | ---: | ---: | --- | --- | ---: | --- |",
    ]
    return "\n".join([*lines, *map(_line, rows)])


def _line(row: Row) -> str:
    cells: list[object] = [row.name, row.sites, row.before, row.after, row.way, row.equal]
    cells += [f"{row.seconds:.1f}", row.note]
    if row.outcome == FAILS and not row.before:
        cells = [row.name, *[""] * 6, f"fails: {row.note}"]
    return f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in cells)} |"


def _names(rows: Sequence[Row], why: str) -> str:
    return ", ".join(row.name for row in rows if row.note == why)


def _fill(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _release(package: object) -> str:
    return str(getattr(package, "__version__", "")).partition("+")[0]
