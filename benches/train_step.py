"""How long does one training step take? proprelu beside PyTorch, JAX and burn, each at its best.

Forward, loss, backward and SGD with momentum on one batch. Every system is a process of its own,
with its own allocator; they run in turn, A B C A B C, one at a time, while the others sleep. All
start from the same weights, and the losses of their first steps have to agree. The clock of the
peers covers steps on a batch in memory; that of proprelu covers all of `Trainer.fit`: loader,
metrics and loop.

    python benches/train_step.py --only resnet20_2to1 --systems bf16 --rounds 15 --json FILE

To compare two builds in one run, name the folder `python` of another checkout; the systems of
proprelu then run a second time, with the package in it:

    python benches/train_step.py --systems proprelu --package ../other/python

On a processor with newer instructions, measure what older ones reach: `--level avx2` keeps all
systems from using AVX-512 and AMX.

The choice of an algorithm for each convolution must not be worse than any single algorithm: where
`proprelu bf16` takes over 5% longer than with one `conv_algorithm`, the benchmark fails.

Optional peers: tcmalloc (apt-get install libtcmalloc-minimal4); JAX (set PROPRELU_BENCH_JAX to a
Python that has jax); burn (cargo build --release --manifest-path benches/burn/Cargo.toml).
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.arguments import chosen, step_parser
from harness.bench import STEP_COLUMNS, Bench, Outcome
from harness.rounds import Measured, Rounds
from harness.system import STEP_FLOOR, System
from systems.cpu import CPU_SYSTEMS, OURS, OURS_SINGLE
from works.steps import CPU_WORKS

_AIM = "resnet20_2to1"
# The share of the speed of the best single algorithm which the choice has to reach.
_WORST_CHOICE = 0.95
# What keeps every system from newer instructions.
_LEVELS = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "PROPRELU_CPU": "avx2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    }
}


def main() -> None:
    options = step_parser(__doc__)
    options.add_argument("--package", type=Path, help="folder `python` of another checkout")
    options.add_argument("--level", choices=_LEVELS, help="newest instructions that are used")
    args = options.parse_args()
    os.environ.update(_LEVELS.get(args.level, {}))
    works, systems = chosen(options, args, CPU_WORKS, CPU_SYSTEMS)
    if args.package is not None:
        if not (args.package / "proprelu" / "__init__.py").exists():
            options.error(f"--package must be a folder that contains proprelu, got {args.package}")
        systems = list(_with_others(systems, str(args.package.resolve())))
    columns = (*STEP_COLUMNS, "x best of precision", "peak MB", "first losses")
    bench = Bench(Rounds(STEP_FLOOR, args.rounds), columns, lambda _: args.json)
    outcome = bench.run(works, systems)
    for measured in outcome.measured:
        for line in _builds(measured):
            print(line)
    choices = [_choice(measured) for measured in outcome.measured]
    for measured, ratio in zip(outcome.measured, choices, strict=True):
        if ratio is not None:
            print(
                f"{measured.work.name}: with its choice of algorithms {OURS.name} runs at "
                f"{ratio:.2f} times the speed of the best single algorithm"
            )
    print(_last_line(outcome))
    bad = any(ratio is not None and ratio < _WORST_CHOICE for ratio in choices)
    raise SystemExit(outcome.failed or bad)


def _with_others(systems: Sequence[System], package: str) -> Iterator[System]:
    """All systems, each of proprelu followed by the same of another build."""
    for system in systems:
        yield system
        if system.is_ours:
            yield replace(system, name=f"{system.name} of {package}", package=package)


def _builds(measured: Measured) -> Iterator[str]:
    """This build beside the other one, from the times of the same rounds."""
    times = {run.system: run.times for run in measured.runs}
    for other, theirs in times.items():
        name = other.name.removesuffix(f" of {other.package}")
        ours = times.get(replace(other, name=name, package=""))
        if not other.package or ours is None:
            continue
        ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
        yield (
            f"{measured.work.name}: {name} runs at {statistics.median(ratios):.3f} times the speed "
            f"of the other build (by round {ratios[0]:.3f} to {ratios[-1]:.3f})"
        )


def _choice(measured: Measured) -> float | None:
    """The speed of the choice of algorithms, relative to the best single algorithm's."""
    times = {run.system: run.times for run in measured.runs}
    singles = [times[system] for system in OURS_SINGLE if system in times]
    if OURS not in times or not singles:
        return None
    best = min(singles, key=statistics.median)
    return statistics.median(b / a for a, b in zip(times[OURS], best, strict=True))


def _last_line(outcome: Outcome) -> str:
    """The ratio that this benchmark is about."""
    rows = {row["system"]: row for row in outcome.about(_AIM)}
    peers = [row for name, row in rows.items() if name.startswith("torch")]
    if not peers or OURS.name not in rows:
        return "no ratio: it needs proprelu bf16 and a system of torch"
    peer, ours = min(peers, key=lambda row: row["median_ms"]), rows[OURS.name]
    return (
        f"proprelu bf16 runs at {peer['median_ms'] / ours['median_ms']:.2f} times the speed of the "
        f"best PyTorch configuration on {ours['work']} ({peer['system']})"
    )


if __name__ == "__main__":
    main()
