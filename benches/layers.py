"""How fast are single layers? proprelu beside the same layer written in plain PyTorch.

Forward and backward. Every system is a process of its own; they run in turn, A B C A B C, one at a
time. All have the same input and weights, and their results have to agree; glibc's allocator is
tuned for all alike. Plain PyTorch runs in both memory formats, and the faster one is the peer.
Memory is the growth of the process in a step.

    python benches/layers.py --only covariance --rounds 15 --json benches/results/layers.json
"""

from __future__ import annotations

from harness.arguments import chosen, step_parser
from harness.bench import Bench, Outcome
from harness.results import Row, is_ours
from harness.rounds import Rounds
from systems.layers import LAYER_FLOOR, LAYER_SYSTEMS
from works.layers import LAYER_WORKS

_AIM = "covariance_pool"
_COLUMNS = ("ms a step", "from-to", "x best of precision", "floor ms", "of floor", "peak MB")


def main() -> None:
    options = step_parser(__doc__)
    args = options.parse_args()
    works, systems = chosen(options, args, LAYER_WORKS, LAYER_SYSTEMS)
    bench = Bench(
        Rounds(LAYER_FLOOR, args.rounds),
        _COLUMNS,
        lambda _: args.json,
        by_precision=True,
        checked="results",
    )
    outcome = bench.run(works, systems)
    print(_last_line(outcome))
    raise SystemExit(outcome.failed)


def _last_line(outcome: Outcome) -> str:
    """The ratios that this benchmark is about."""
    rows = outcome.about(_AIM)
    compared = [_compared(rows, precision) for precision in ("fp32", "bf16")]
    if not any(compared):
        return "no ratio: it needs proprelu and torch"
    return f"proprelu computes {rows[0]['work']} at {' and '.join(filter(None, compared))}"


def _compared(rows: list[Row], precision: str) -> str | None:
    """The fastest of ours beside the fastest of PyTorch's."""
    same = [row for row in rows if row["system"].endswith(precision)]
    ours, theirs = (
        min((r for r in same if is_ours(r) == mine), key=lambda r: r["median_ms"], default=None)
        for mine in (True, False)
    )
    if ours is None or theirs is None:
        return None
    ratio = theirs["median_ms"] / ours["median_ms"]
    text = f"{ratio:.2f} times the speed of plain PyTorch in {precision}"
    if ours["peak_mb"] is not None and theirs["peak_mb"]:
        text += f" with {ours['peak_mb'] / theirs['peak_mb']:.2f} of its memory"
    return text


if __name__ == "__main__":
    main()
