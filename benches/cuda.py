"""Whole trainings on a GPU: ours beside PyTorch with a DataLoader, resident data, and compiled.

Every system is a process of its own; they are asked in turn, A B C A B C, one at a time, in groups
where the GPU's memory does not hold all at once. All start from the same weights, with the same
optimizer, batch size and augmentation; the losses of their first steps on one batch have to agree.
Rows of earlier runs stay in the file, so works and systems can be measured bit by bit.

    python benches/cuda.py                                  # all, as far as the time goes
    python benches/cuda.py --only resnet50 --systems proprelu,resident --rounds 5
    python benches/cuda.py --dry-run                        # tiny and on the CPU; measures nothing
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gpu import report, results
from gpu.measure import Measured, Rounds
from gpu.start import Limit
from gpu.systems import SYSTEMS, is_named
from gpu.works import WORKS, dried
from side_by_side.child import CannotRun


def main() -> None:
    parser = _parser()
    args = parser.parse_args()
    works = [work for work in WORKS if is_named(work.name, args.only)]
    systems = [system for system in SYSTEMS if is_named(system.name, args.systems)]
    if args.list:
        print("\n".join(work.name for work in works))
        print("\n".join(f"  {system.name}" for system in systems))
        return
    if args.rounds < 1:
        parser.error(f"--rounds must be 1 or more, got {args.rounds}")
    if not works or not systems:
        parser.error("nothing has such a name; see --list")
    if args.dry_run:
        print("A dry run, tiny and on the CPU: its numbers say nothing.")
    print(report.CLOCK, end="\n\n", flush=True)
    limit, rounds = Limit(args.minutes), 1 if args.dry_run else args.rounds
    rows: list[results.Row] = []
    wrong = False
    for work in works:
        is_last = work is works[-1]
        work = dried(work) if args.dry_run else work
        try:
            measured = Rounds(work, rounds, limit, is_last, args.dry_run).of(systems)
        except CannotRun as reason:
            print(f"without {work.name}: {reason}")
            continue
        report.print_report(measured)
        rows = _kept(args, measured, rows)
        wrong = wrong or bool(results.disagreements(measured))
    print(report.last_line(rows))
    if wrong or not rows:
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="works, by parts of their names, with commas")
    parser.add_argument("--systems", default="", help="systems, by parts of their names, likewise")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="nothing new is begun after that; default: 9"
    )
    parser.add_argument(
        "--json", type=Path, help="default: benches/results/cuda-DEVICE.json; none in a dry run"
    )
    parser.add_argument("--list", action="store_true", help="print works and systems and stop")
    parser.add_argument("--dry-run", action="store_true", help="all of it, tiny, on the CPU")
    return parser


def _kept(
    args: argparse.Namespace, measured: Measured, rows: list[results.Row]
) -> list[results.Row]:
    """All rows so far: of the file, or without one of this run."""
    new = results.report(measured)
    path: Path | None = args.json
    if path is None and not args.dry_run:
        path = results.default_path("cuda", new["machine"]["device"])
    if path is None:
        return [*rows, *new["rows"]]
    kept: list[results.Row] = results.keep(path, new)["rows"]
    return kept


if __name__ == "__main__":
    main()
