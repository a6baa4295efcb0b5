"""Which known networks convert, and to what? torchvision's, timm's and some others.

Each is built with random weights, converted to 2:1, and at 1:1 compared with itself. What fails is
a row with its reason. The page is docs/results/models.md; with --only the table is printed alone.

    python benches/models.py --only resnet,vgg
"""

from __future__ import annotations

from pathlib import Path

import torch
from catalog.check import check
from catalog.entries import entries
from catalog.report import document, line, summary, table
from harness import arguments
from rich.console import Console
from rich.progress import Progress


def main() -> None:
    options = arguments.parser(__doc__)
    options.add_argument("--only", default="", help="networks, by parts of names, with commas")
    options.add_argument(
        "--table", type=Path, default=arguments.PAGES / "models.md", help="file for the page"
    )
    options.add_argument("--list", action="store_true", help="print the networks and stop")
    args = options.parse_args()
    chosen = arguments.named(entries(), args.only)
    if not chosen:
        options.error("no name contains this; see --list")
    if args.list:
        arguments.print_names(entry.name for entry in chosen)
    torch.set_num_threads(1)  # the page gives seconds on one core
    rows = []
    with Progress(console=Console(stderr=True, highlight=False)) as progress:
        for entry in progress.track(chosen, description="models"):
            rows.append(check(entry))
            progress.console.print(line(rows[-1]), markup=False, soft_wrap=True)
    if args.only:
        print(table(rows))
    else:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(document(rows))
    print(summary(rows))


if __name__ == "__main__":
    main()
