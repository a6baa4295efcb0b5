"""Draws the picture at the top of the README: a network at 1:1 beside the same network at 2:1.

    python docs/tools/picture.py

Writes docs/assets/ratio-light.svg and docs/assets/ratio-dark.svg. Which activations are dropped is
what `proprelu.nn.relus` returns, so the picture shows the real default placement.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from proprelu.figures import COLORS
from proprelu.nn import Dropped, relus

ASSETS = Path(__file__).parents[1] / "assets"
CONVS = 4
WIDTH, HEIGHT = 740, 220
BOX, TALL, GAP = 78, 50, 12
FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class Palette(NamedTuple):
    """The colors of one picture; the background is the page's own."""

    text: str
    faint: str
    conv: str
    relu: str
    word: str


PALETTES = {
    "light": Palette("#1f2328", "#59636e", COLORS[0], COLORS[1], "#ffffff"),
    "dark": Palette("#e6edf3", "#9198a1", COLORS[5], COLORS[4], "#0d1117"),
}


def draw(palette: Palette) -> str:
    """The picture as SVG."""
    rows = [_row(ratio, top, palette) for ratio, top in (("1:1", 0), ("2:1", 122))]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="{FONT}" role="img" aria-label="Four convolutions at a ratio of 1:1, each '
        f'followed by a ReLU, and at 2:1, where every second ReLU is dropped">\n'
        + "\n".join(line for row in rows for line in row)
        + "\n</svg>\n"
    )


def _row(ratio: str, top: int, palette: Palette) -> list[str]:
    kept = [not isinstance(relu, Dropped) for relu in relus(CONVS, ratio)]
    words = f"{CONVS} convolutions, {sum(kept)} ReLUs"
    lines = [
        f'<text x="10" y="{top + 28}" font-size="27" font-weight="700" fill="{palette.text}">'
        f'{ratio}<tspan dx="14" font-size="22" font-weight="400" fill="{palette.faint}">{words}'
        "</tspan></text>"
    ]
    left, middle = 10, top + 44 + TALL // 2
    end = left + 2 * CONVS * (BOX + GAP) - GAP
    lines.append(
        f'<path d="M{left} {middle}H{end + GAP}" stroke="{palette.faint}" stroke-width="2.5"/>'
    )
    for number in range(CONVS):
        lines += _box(left, top + 44, "conv", palette.conv, palette.word)
        left += BOX + GAP
        if kept[number]:
            lines += _box(left, top + 44, "ReLU", palette.relu, palette.word)
        left += BOX + GAP
    return lines


def _box(left: int, top: int, word: str, color: str, word_color: str) -> list[str]:
    return [
        f'<rect x="{left}" y="{top}" width="{BOX}" height="{TALL}" rx="9" fill="{color}"/>',
        f'<text x="{left + BOX // 2}" y="{top + TALL // 2 + 8}" font-size="24" font-weight="600" '
        f'text-anchor="middle" fill="{word_color}">{word}</text>',
    ]


def main() -> None:
    """Writes one file for each palette."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ASSETS, help="where the files go")
    out = parser.parse_args().out
    for name, palette in PALETTES.items():
        path = out / f"ratio-{name}.svg"
        path.write_text(draw(palette), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
