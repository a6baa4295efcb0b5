"""The command lines of the benchmarks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from harness.child import BENCHES

RESULTS = BENCHES / "results"
PAGES = BENCHES.parent / "docs" / "results"


class Named(Protocol):
    """A work, a system, or another thing to choose by its name."""

    @property
    def name(self) -> str: ...


_Named = TypeVar("_Named", bound=Named)
_Work = TypeVar("_Work", bound=Named)
_System = TypeVar("_System", bound=Named)


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the text of a script as its description."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def step_parser(description: str | None, rounds: int = 15) -> argparse.ArgumentParser:
    """The options of benchmarks that time works by systems."""
    options = parser(description)
    options.add_argument("--only", default="", help="works, by parts of their names, with commas")
    options.add_argument("--systems", default="", help="systems, by parts of their names, likewise")
    options.add_argument("--rounds", type=int, default=rounds)
    options.add_argument("--json", type=Path, help="file for the results")
    options.add_argument("--list", action="store_true", help="print works and systems and stop")
    return options


def chosen(
    options: argparse.ArgumentParser,
    args: argparse.Namespace,
    works: Sequence[_Work],
    systems: Sequence[_System],
) -> tuple[list[_Work], list[_System]]:
    """Select by `--only` and `--systems`; with `--list`, print the selection and exit."""
    works, systems = named(works, args.only), named(systems, args.systems)
    if args.list:
        print_names([*(work.name for work in works), *(f"  {system.name}" for system in systems)])
    if args.rounds < 1:
        options.error(f"--rounds must be 1 or more, got {args.rounds}")
    if not works or not systems:
        options.error("no name contains this; see --list")
    return works, systems


def training_parser(
    description: str | None, name: str, seeds: int, table: bool = True
) -> argparse.ArgumentParser:
    """The options of benchmarks that train with several seeds; `name` is that of their files."""
    options = parser(description)
    options.add_argument("--only", help="one of them, by its full name in --list")
    options.add_argument("--seeds", type=int, default=seeds, help="number of seeds, from 0 on")
    options.add_argument("--epochs", type=int)
    options.add_argument("--limit", type=int, help="train and test on the first images only")
    options.add_argument(
        "--json", type=Path, default=RESULTS / f"{name}.json", help="file of finished trainings"
    )
    if table:
        options.add_argument(
            "--table", type=Path, default=PAGES / f"{name}.md", help="file for the page"
        )
    options.add_argument("--list", action="store_true", help="print the names and stop")
    return options


def limit_options(options: argparse.ArgumentParser) -> None:
    """The options of benchmarks of a GPU, on which time is limited."""
    options.add_argument(
        "--minutes", type=float, default=9.0, help="nothing is begun after that; default: 9"
    )
    options.add_argument("--dry-run", action="store_true", help="all of it, tiny, on the CPU")


def chosen_one(
    options: argparse.ArgumentParser, args: argparse.Namespace, every: Sequence[_Named]
) -> list[_Named]:
    """The one with the name of `--only`, or all; with `--list`, print the names and exit."""
    if args.list:
        print_names(thing.name for thing in every)
    found = [thing for thing in every if args.only in (None, thing.name)]
    if not found:
        options.error(f"--only must be one of --list, got {args.only!r}")
    return found


def named(things: Sequence[_Named], parts: str) -> list[_Named]:
    """Those with one of the parts, which commas separate, in their names."""
    return [t for t in things if any(part.strip() in t.name for part in parts.split(","))]


def print_names(names: Iterable[str]) -> None:
    print("\n".join(names))
    raise SystemExit(0)
