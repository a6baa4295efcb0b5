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

from collections.abc import Sequence

from side_by_side.arguments import chosen
from side_by_side.measure import Measured, measure
from side_by_side.report import best_peer, disagreements, print_report, ratio_to, write_json
from side_by_side.systems import SYSTEMS, System
from side_by_side.works import WORKS

_AIM = "resnet20_2to1"


def main() -> None:
    args = chosen(__doc__, WORKS, SYSTEMS)
    all_measured = []
    for work in args.works:
        measured = measure(work, [s for s in args.systems if s.trains(work)], args.rounds)
        print_report(measured)
        all_measured.append(measured)
        if args.json:
            write_json(args.json, all_measured)
    print(_last_line(all_measured))
    if any(disagreements(measured) for measured in all_measured):
        raise SystemExit(1)


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
