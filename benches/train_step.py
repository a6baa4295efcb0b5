"""One training step: ours beside PyTorch, JAX and burn, each at its best.

Forward, loss, backward and SGD with momentum of one batch. Every system is a process of its own,
with its own allocator; they are asked in turn, A B C A B C, one at a time, while the others sleep.
All start from the same weights and the losses of their first steps have to agree. The clock of the
peers runs over batches in memory; ours is on the whole of `Trainer.fit`: loader, metrics and loop.

    python benches/train_step.py --only resnet20_2to1 --systems bf16 --rounds 15 --json FILE

Optional peers: tcmalloc (apt-get install libtcmalloc-minimal4); JAX (set PROPRELU_BENCH_JAX to a
Python that has jax); burn (cargo build --release --manifest-path benches/burn/Cargo.toml).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from side_by_side.measure import Measured, measure
from side_by_side.report import best_peer, disagreements, print_report, ratio_to, write_json
from side_by_side.systems import SYSTEMS, System
from side_by_side.works import WORKS

_AIM = "resnet20_2to1"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="works, by parts of their names, with commas")
    parser.add_argument("--systems", default="", help="systems, by parts of their names, likewise")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="a file for the results")
    parser.add_argument("--list", action="store_true", help="print works and systems and stop")
    args = parser.parse_args()
    works = [work for work in WORKS if _is_named(work.name, args.only)]
    systems = [system for system in SYSTEMS if _is_named(system.name, args.systems)]
    if args.list:
        print("\n".join(work.name for work in works))
        print("\n".join(f"  {system.name}" for system in systems))
        return
    if args.rounds < 1:
        parser.error(f"--rounds must be 1 or more, got {args.rounds}")
    if not works or not systems:
        parser.error("nothing has such a name; see --list")
    all_measured = []
    for work in works:
        measured = measure(work, [s for s in systems if s.trains(work)], args.rounds)
        print_report(measured)
        all_measured.append(measured)
        if args.json:
            write_json(args.json, all_measured)
    print(_last_line(all_measured))
    if any(disagreements(measured) for measured in all_measured):
        raise SystemExit(1)


def _is_named(name: str, parts: str) -> bool:
    return any(part.strip() in name for part in parts.split(","))


def _last_line(all_measured: Sequence[Measured]) -> str:
    """The ratio that this benchmark is about."""
    measured = next((m for m in all_measured if m.work.name == _AIM), all_measured[-1])
    peer = best_peer(measured, kind="torch")
    ours = next((r for r in measured.runs if r.system == System("proprelu", "bf16")), None)
    if peer is None or ours is None:
        return "no ratio: it takes proprelu bf16 and a system of torch"
    ratio = ratio_to(peer, ours)
    return (
        f"proprelu bf16 runs at {ratio:.2f} times the speed of the best PyTorch configuration "
        f"on {measured.work.name} ({peer.system.name})"
    )


if __name__ == "__main__":
    main()
