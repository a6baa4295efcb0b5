"""Writes the measured tables into the README, docs/performance.md and docs/merging.md.

    python docs/tools/tables.py

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`; its numbers come from
benches/results. A test compares the pages with the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "merging.md")
_TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Row = dict[str, Any]

# The processors, by the names of their files of results. Tables about a single one use the first.
PROCESSORS = {
    "amd-epyc": "AMD EPYC, 2 cores",
}
NETWORKS = {
    "resnet20_1to1": "ResNet-20 1:1",
    "resnet20_2to1": "ResNet-20 2:1",
    "resnet56_2to1": "ResNet-56 2:1",
    "vgg16_bn": "VGG-16-BN",
    "resnet18": "ResNet-18",
    "mobilenet_v2": "MobileNetV2",
}
_MAIN = next(iter(PROCESSORS))
MERGED = {
    "mobilenet_v2": "MobileNetV2, blocks linear",
    "resnet50": "ResNet-50 2:1",
    "vgg16_bn": "VGG-16-BN 2:1",
    "densenet121": "DenseNet-121 2:1",
    "resnet20": "ResNet-20 2:1, 32x32",
}
LAYERS = {
    "covariance_pool": "covariance pooling",
    "tied_squeeze_excite": "tied squeeze-and-excitation",
    "tied_conv_b2": "tied convolution, 2 blocks",
    "tied_conv_b4": "tied convolution, 4 blocks",
}


def filled(text: str) -> str:
    """A page with every table in it written anew."""
    return _TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def summary() -> str:
    """The README's table: one row for each processor and network."""
    head = ("network", ">PyTorch", ">proprelu", ">ratio", "processor")
    rows = []
    for file, processor in PROCESSORS.items():
        steps = _Steps(file)
        for work, name in NETWORKS.items():
            ours = steps.of(work, "proprelu bf16")
            ratio = f"**{ours['ratio_to_best_peer']:.2f}**"
            rows.append((name, _ms(steps.best(work)), _ms(ours), ratio, processor))
    return _table(head, rows)


def networks(processor: str) -> str:
    """All networks on one processor, bf16 and fp32, with memory."""
    steps = _Steps(processor)
    head = (
        *("network", ">best PyTorch", ">proprelu bf16", ">ratio", ">direct only"),
        *(">fp32", ">of the floor"),
    )
    return _table(head, (steps.network(work, name) for work, name in NETWORKS.items()))


def memory() -> str:
    """By how much the process grows in a step."""
    steps = _Steps(_MAIN)
    head = (
        *("network", ">proprelu bf16", '>`memory="normal"`'),
        *(">PyTorch bf16, glibc", ">PyTorch bf16, tcmalloc"),
    )
    systems = (
        *("proprelu bf16", "proprelu bf16 normal memory"),
        *("torch eager channels_last bf16", "torch eager channels_last bf16 + tcmalloc"),
    )
    rows = (
        (name, *(_mb(steps.of(work, system)) for system in systems))
        for work, name in NETWORKS.items()
    )
    return _table(head, rows)


def systems(work: str) -> str:
    """Every measured system on one network, the slowest first."""
    steps = _Steps(_MAIN)
    rows = sorted(steps.rows(work), key=lambda row: -row["median_ms"])
    return _table(
        ("system", ">ms a step", ">fastest to slowest", ">images/s", ">growth of memory"),
        (
            (
                f"**{row['system']}**" if row["system"].startswith("proprelu") else row["system"],
                f"{row['median_ms']:.0f}",
                f"{row['min_ms']:.0f} to {row['max_ms']:.0f}",
                f"{row['per_second']:,.0f}",
                _mb(row),
            )
            for row in rows
        ),
    )


def compiled() -> str:
    """`torch.compile(backend="proprelu")` beside the best PyTorch."""
    steps = _Steps(_MAIN)
    rows = []
    for work, name in NETWORKS.items():
        row = steps.of(work, "proprelu bf16 in torch.compile")
        rows.append((name, _ms(steps.best(work)), _ms(row), f"{row['ratio_to_best_peer']:.2f}"))
    return _table(("network", ">best PyTorch", '>`backend="proprelu"`', ">ratio"), rows)


def layers() -> str:
    """Single layers beside the plain way of writing them."""
    rows: list[Row] = _read("layers.json")["rows"]
    cells = []
    for work, name in LAYERS.items():
        for precision in ("fp32", "bf16"):
            both = [r for r in rows if r["work"] == work and r["system"].endswith(precision)]
            plain = min((r for r in both if "torch" in r["system"]), key=lambda r: r["median_ms"])
            ours = min((r for r in both if "proprelu" in r["system"]), key=lambda r: r["median_ms"])
            ratio = plain["median_ms"] / ours["median_ms"]
            times = (f"{plain['median_ms']:.1f} ms", f"{ours['median_ms']:.1f} ms", f"{ratio:.2f}")
            last = [r["median_ms"] for r in both if "channels_last" in r["system"]]
            in_format = f"{last[0] / last[1]:.2f}"
            cells.append((name, precision, *times, in_format, _mb(plain), _mb(ours)))
    head = (
        *("layer", "precision", ">plain PyTorch", ">proprelu", ">ratio"),
        *(">ratio in channels_last", ">memory, plain", ">memory, proprelu"),
    )
    return _table(head, cells)


def merged(processor: str) -> str:
    """Merged networks beside the original with its norms folded, both in their fastest way."""
    rows: list[Row] = _read(f"merge-{processor}.json")["rows"]
    cells = []
    for work in dict.fromkeys(row["work"] for row in rows):
        network, _, batch = work.rpartition("_b")
        own = [row for row in rows if row["work"] == work]
        times = {row["system"]: row["median_ms"] for row in own}
        theirs = min(time for system, time in times.items() if system.startswith("torch"))
        ours = min(time for system, time in times.items() if "merged" in system)
        plain = (times["torch folded"], times["proprelu merged"])
        shown = (f"{time:.2f} ms" for time in (*plain, theirs, ours))
        cells.append((MERGED[network], batch, *shown, f"**{theirs / ours:.2f}**"))
    head = (
        *("network", ">batch", ">norms folded", ">merged"),
        *(">fastest PyTorch", ">fastest merged", ">ratio"),
    )
    return _table(head, cells)


def time_to_accuracy() -> str:
    """Seconds of training until the test accuracy is reached."""
    trainings: dict[str, dict[str, Any]] = _read("time_to_accuracy.json")["trainings"]
    rows = []
    for system, seeds in trainings.items():
        for seed, training in seeds.items():
            epochs = training["epochs"]
            reached = (f"{_seconds_to(target, epochs):.0f} s" for target in (0.91, 0.93))
            rows.append((system, seed, *reached, f"{100 * epochs[-1]['top1']:.2f}%"))
    return _table(("system", ">seed", ">91%", ">93%", ">at the end"), rows)


class _Steps:
    """The results of `benches/train_step.py` on one processor."""

    def __init__(self, processor: str) -> None:
        self._rows: list[Row] = _read(f"train_step-{processor}.json")["rows"]

    def rows(self, work: str) -> list[Row]:
        return [row for row in self._rows if row["work"] == work]

    def of(self, work: str, system: str) -> Row:
        return next(row for row in self.rows(work) if row["system"] == system)

    def best(self, work: str, precision: str = "") -> Row:
        """The fastest PyTorch."""
        rows = (row for row in self.rows(work) if row["system"].startswith("torch"))
        return min((r for r in rows if precision in r["system"]), key=lambda r: r["median_ms"])

    def network(self, work: str, name: str) -> tuple[str, ...]:
        ours, direct = self.of(work, "proprelu bf16"), self.of(work, "proprelu bf16 direct")
        fp32 = self.best(work, "fp32")["median_ms"] / self.of(work, "proprelu fp32")["median_ms"]
        return (
            name,
            _ms(self.best(work)),
            _ms(ours),
            f"**{ours['ratio_to_best_peer']:.2f}**",
            f"{direct['ratio_to_best_peer']:.2f}",
            f"{fp32:.2f}",
            f"{100 * ours['floor_ms'] / ours['median_ms']:.0f}%",
        )


def _read(file: str) -> Any:
    return json.loads((ROOT / "benches" / "results" / file).read_text(encoding="utf-8"))


def _ms(row: Row) -> str:
    return f"{row['median_ms']:.0f} ms"


def _mb(row: Row) -> str:
    return "" if row["peak_mb"] is None else f"{row['peak_mb']:.0f} MB"


def _seconds_to(target: float, epochs: list[Row]) -> float:
    seconds = 0.0
    for epoch in epochs:
        seconds += epoch["seconds"]
        if epoch["top1"] >= target:
            return seconds
    return float("nan")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown; the columns whose names start with `>` are aligned to the right."""
    names = list(head)
    rule = ["---:" if name.startswith(">") else "---" for name in names]
    lines = [[name.lstrip(">") for name in names], rule, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


TABLES = {
    "summary": summary,
    "networks-amd-epyc": lambda: networks("amd-epyc"),
    "networks-amd-epyc-420gflops": lambda: networks("amd-epyc-420gflops"),
    "memory": memory,
    "systems-resnet20": lambda: systems("resnet20_2to1"),
    "compiled": compiled,
    "layers": layers,
    "merged-intel-xeon": lambda: merged("intel-xeon"),
    "time-to-accuracy": time_to_accuracy,
}


def main() -> None:
    """Writes the pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
