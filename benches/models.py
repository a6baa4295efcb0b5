"""Which known networks convert, and to what: torchvision's, timm's and some others.

Each is built with random weights, converted to 2:1, and at 1:1 compared with itself. What fails is
a row with its reason. The table goes into docs/results/models.md; with --only it is printed alone.

    python benches/models.py --only resnet,vgg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from catalog.check import Row, check
from catalog.entries import Entry, entries, named
from catalog.report import document, line, summary, table
from rich.console import Console
from rich.progress import Progress

_TABLE = Path(__file__).parents[1] / "docs" / "results" / "models.md"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="networks, by parts of their names, with commas")
    parser.add_argument("--table", type=Path, default=_TABLE, help="where the table goes")
    parser.add_argument("--list", action="store_true", help="print the networks and stop")
    args = parser.parse_args()
    chosen = entries() if args.only is None else named(args.only)
    if not chosen:
        parser.error("nothing has such a name; see --list")
    if args.list:
        print("\n".join(entry.name for entry in chosen))
        return
    torch.set_num_threads(1)  # as many as the seconds are said for
    rows = _check_all(chosen)
    if args.only is None:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(document(rows))
    else:
        print(table(rows))
    print(summary(rows))


def _check_all(chosen: Sequence[Entry]) -> list[Row]:
    rows = []
    with Progress(console=Console(stderr=True, highlight=False)) as progress:
        for entry in progress.track(chosen, description="models"):
            rows.append(check(entry))
            progress.console.print(line(rows[-1]), markup=False, soft_wrap=True)
    return rows


if __name__ == "__main__":
    main()
