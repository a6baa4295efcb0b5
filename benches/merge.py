"""How fast is a network whose linear convolutions were merged, beside the original?

Inference in fp32. The original runs in PyTorch as it is, with its batch norms folded, and compiled
(`torch.compile` with freezing); the converted network as it is, merged, and merged and compiled.
Every system is a process of its own; they run in turn, A B C A B C, one at a time. Each one's
outputs have to be those of its own network in float64. The weights are random: this is about
speed, and says nothing about accuracy.

The networks are converted at 2:1; those of MobileNetV2 have no activations inside their blocks.

    python benches/merge.py --only mobilenet --rounds 15 --json benches/results/merge.json
"""

from __future__ import annotations

from harness.arguments import chosen, step_parser
from harness.bench import Bench, Outcome
from harness.results import is_ours
from harness.rounds import Rounds
from systems.inference import INFERENCE_FLOOR, INFERENCE_SYSTEMS
from works.inference import INFERENCE_WORKS

_COLUMNS = ("ms a step", "from-to", "images/s", "x best peer", "peak MB", "set-up s")


def main() -> None:
    options = step_parser(__doc__)
    args = options.parse_args()
    works, systems = chosen(options, args, INFERENCE_WORKS, INFERENCE_SYSTEMS)
    rounds = Rounds(INFERENCE_FLOOR, args.rounds)
    outcome = Bench(rounds, _COLUMNS, lambda _: args.json, checked="results").run(works, systems)
    for work in works:
        print(_ratio(outcome, work.name))
    raise SystemExit(outcome.failed)


def _ratio(outcome: Outcome, work: str) -> str:
    """The fastest merged network beside the fastest way to run the original."""
    rows = outcome.about(work)
    merged = [row for row in rows if is_ours(row) and "merged" in row["system"]]
    peers = [row for row in rows if not is_ours(row)]
    if not merged or not peers:
        return f"{work}: no ratio: it needs a system of torch and a merged one"
    ours, theirs = (min(rows, key=lambda row: row["median_ms"]) for rows in (merged, peers))
    return (
        f"{work}: {ours['system']} runs at {theirs['median_ms'] / ours['median_ms']:.2f} times "
        f"the speed of {theirs['system']}"
    )


if __name__ == "__main__":
    main()
