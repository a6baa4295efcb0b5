"""Is another ratio than 1:1 better? Sweeps of networks on Fashion-MNIST, with several seeds.

ResNet-20 and a VGG, and two deep ones, ResNet-56 and the same without shortcuts, at 1:1, 3:2, 2:1
and 3:1 with the placements last, first and block_last; and ResNet-20 with a tenth of the images.
Every run is in the files of results, benches/results/evidence/*.sqlite, which a second call
continues. The page is docs/results/evidence.md.

    python benches/evidence.py --seeds 5 --only resnet20
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import proprelu
from harness import page
from harness.arguments import PAGES, RESULTS, chosen_one, parser
from proprelu.sweep import SweepResults
from torch import nn
from works.without_shortcuts import plain

RATIOS = ("1:1", "3:2", "2:1", "3:1")


@dataclass(frozen=True)
class Case:
    """A sweep.

    Attributes:
        name: that of its file.
        title: in words.
        build: makes the network.
        placements: those that it has; a network without blocks has no last one in a block.
        part: the part of the training images.
        repeats: multiplies the number of epochs, which have fewer steps with a part of the images.
        lr: the peak of the learning rate.
    """

    name: str
    title: str
    build: Callable[[], nn.Module]
    placements: Sequence[str] = ("last", "first")
    part: float = 1.0
    repeats: int = 1
    lr: float = 0.1


_RESNET20, _RESNET56, _VGG11 = (
    partial(proprelu.models.create, name, in_channels=1, **options)
    for name, options in (("resnet20", {}), ("resnet56", {}), ("vgg11", {"width": 16}))
)
_WITH_BLOCKS = ("last", "first", "block_last")
CASES = (
    Case("resnet20", "ResNet-20", _RESNET20, _WITH_BLOCKS),
    Case("resnet20-tenth", "ResNet-20, a tenth of the images", _RESNET20, _WITH_BLOCKS, 0.1, 5),
    Case("vgg11", "VGG-11, a quarter of the channels", _VGG11),
    Case("resnet56", "ResNet-56", _RESNET56, _WITH_BLOCKS),
    Case("plain56", "ResNet-56 without shortcuts", partial(plain, 56), lr=0.02),
)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", help="one of them, by its name in --list")
    options.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0 on")
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--images", type=int, default=60_000, help="training images; 60000: all")
    options.add_argument("--workers", type=int, help="trainings at a time")
    options.add_argument("--results", type=Path, default=RESULTS / "evidence", help="folder")
    options.add_argument(
        "--table", type=Path, default=PAGES / "evidence.md", help="file for the page"
    )
    options.add_argument("--list", action="store_true", help="print the names and stop")
    args = options.parse_args()
    for case in chosen_one(options, args, CASES):
        print(f"{case.title}:", flush=True)
        results = _sweep(case, args)
        print(results, results.best(), sep="\n", flush=True)
    found = {case: _file(case, args) for case in CASES if _file(case, args).exists()}
    every = {case: SweepResults.load(file) for case, file in found.items()}
    _write(args, {case: results for case, results in every.items() if results.summaries})


def _sweep(case: Case, args: argparse.Namespace) -> SweepResults:
    train, test = (proprelu.datasets.fashion_mnist(name) for name in ("train", "test"))
    count = round(case.part * min(args.images, len(train)))
    return proprelu.sweep(
        case.build,
        train.subset(range(count)),
        test,
        ratios=RATIOS,
        placements=case.placements,
        seeds=args.seeds,
        epochs=args.epochs * case.repeats,
        optimizer=proprelu.SGD(lr=case.lr, momentum=0.9, weight_decay=5e-4),
        schedule="one_cycle",
        augment=proprelu.Augment(pad=2, flip=True),
        precision="bf16",
        workers=args.workers,
        file=_file(case, args),
    )


def _file(case: Case, args: argparse.Namespace) -> Path:
    folder: Path = args.results
    return folder / f"{case.name}.sqlite"


def _write(args: argparse.Namespace, every: dict[Case, SweepResults]) -> None:
    """Write the page and its pictures."""
    sections = []
    for case, results in every.items():
        picture = args.table.with_name(f"evidence-{case.name}.svg")
        results.plot(picture)
        table = results.table()
        header = " | ".join(f"{name}:" if i else name for i, name in enumerate(table.columns))
        sections.append(
            f"## {case.title}\n\n{results.best().sentence}\n\n![{case.title}]({picture.name})\n\n"
            f"{page.table(header, table.rows)}"
        )
    settings = [results.settings for results in every.values()]
    images = ", ".join(sorted({f"{each['data']['images']:,}" for each in settings}))
    epochs = ", ".join(sorted({str(each["epochs"]) for each in settings}))
    versions = ", ".join(sorted({each["versions"]["torch"] for each in settings}))
    page.write(
        args.table,
        "Is another ratio better?",
        "Networks on Fashion-MNIST at several ratios and placements, with several seeds; the runs "
        "of a seed start with the same weights and see the same batches. Written by "
        "`benches/evidence.py`.",
        "\n\n".join(sections),
        f"Trained on {images} images for {epochs} epochs, SGD with momentum 0.9 and weight decay "
        "0.0005, one cycle, batches of 128, crops and flips, bf16; tested on all 10,000 test "
        f"images after the last epoch. On {page.where(versions)}. Every run that was made is in "
        "`benches/results/evidence`, with its curve.",
        "What it does not show: these trainings are short and the images are small, so that "
        "networks are far from their best accuracy, and a ratio may do more or less in a longer "
        "one. The intervals are about seeds, not about other data. The placements are our "
        "interpretations of the paper. The test images chose nothing, and the accuracy is that "
        "after the last epoch.",
        f"evidence.py --seeds {args.seeds} --epochs {args.epochs} --images {args.images}",
    )


if __name__ == "__main__":
    main()
