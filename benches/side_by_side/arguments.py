"""What benchmarks of works by systems are asked on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """A work or a system."""

    @property
    def name(self) -> str: ...


_Work = TypeVar("_Work", bound=Named)
_System = TypeVar("_System", bound=Named)


@dataclass(frozen=True)
class Chosen(Generic[_Work, _System]):
    """What is to be measured, how often, and where the results go."""

    works: list[_Work]
    systems: list[_System]
    rounds: int
    json: Path | None


def chosen(
    description: str | None, works: Sequence[_Work], systems: Sequence[_System]
) -> Chosen[_Work, _System]:
    """Read the arguments; with ``--list``, print what there is and end."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="works, by parts of their names, with commas")
    parser.add_argument("--systems", default="", help="systems, by parts of their names, likewise")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--list", action="store_true", help="print works and systems and stop")
    args = parser.parse_args()
    named = [work for work in works if _is_named(work, args.only)]
    by = [system for system in systems if _is_named(system, args.systems)]
    if args.list:
        print("\n".join(work.name for work in named))
        print("\n".join(f"  {system.name}" for system in by))
        raise SystemExit(0)
    if args.rounds < 1:
        parser.error(f"--rounds must be 1 or more, got {args.rounds}")
    if not named or not by:
        parser.error("nothing has such a name; see --list")
    return Chosen(named, by, args.rounds, args.json)


def _is_named(thing: Named, parts: str) -> bool:
    return any(part.strip() in thing.name for part in parts.split(","))
