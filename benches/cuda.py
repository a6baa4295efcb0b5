"""How fast are whole trainings on a GPU? proprelu beside PyTorch in four configurations.

PyTorch trains with a DataLoader, with resident data, and compiled. Every system is a process of
its own; they run in turn, A B C A B C, one at a time, in groups where the GPU's memory does not
hold all of them. All start from the same weights, with the same optimizer, batch size and
augmentation; the losses of their first steps on one batch, without augmentation, have to agree.
Rows of earlier runs stay in the file, so that works and systems can be measured bit by bit.

    python benches/cuda.py                                  # all, as far as the time suffices
    python benches/cuda.py --only resnet50 --systems proprelu,resident --rounds 5
    python benches/cuda.py --dry-run                        # tiny, on the CPU; measures nothing
"""

from __future__ import annotations

from harness.arguments import chosen, limit_options, step_parser
from harness.bench import STEP_COLUMNS, Bench
from harness.results import default_path
from harness.rounds import Limit, Rounds
from harness.system import STEP_FLOOR
from systems.aims import last_line
from systems.gpu import GPU_SYSTEMS
from works.steps import GPU_WORKS

_CLOCK = """\
The clock covers whole training loops, from the order of the images over batch, augmentation,
forward, loss and backward to the optimizer. proprelu's contains its metrics (loss, top-1, top-5)
and begin and end of an epoch; PyTorch's loops compute no metrics and do not read the loss. The
clock does not cover imports, compiling, capturing, trying algorithms, the upload of a resident data
set, and warm-up steps before each turn: with a DataLoader as many as its workers have prepared.
The workers augment batch by batch. Memory is the most that torch's allocator reserved in training,
with a resident data set.
"""


def main() -> None:
    options = step_parser(__doc__, rounds=7)
    limit_options(options)
    args = options.parse_args()
    works, systems = chosen(options, args, GPU_WORKS, GPU_SYSTEMS)
    rounds = Rounds(STEP_FLOOR, args.rounds, "cuda", Limit(args.minutes))
    if args.dry_run:
        print("A dry run, tiny and on the CPU: its numbers mean nothing.")
        works = [work.dry() for work in works]
        rounds = Rounds(STEP_FLOOR, 1, "cpu", Limit(args.minutes))
    print(_CLOCK, flush=True)
    bench = Bench(
        rounds,
        (*STEP_COLUMNS, "peak MB", "allocated MB", "set-up s", "first losses"),
        lambda new: (
            args.json or (None if args.dry_run else default_path("cuda", new["machine"]["device"]))
        ),
        by_system=True,
    )
    outcome = bench.run(works, systems)
    print(last_line(outcome.rows))
    raise SystemExit(outcome.failed)


if __name__ == "__main__":
    main()
