"""The generated parts of the README and the guide are up to date."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "docs" / "tools"


@pytest.mark.parametrize("name", ["README.md", "docs/performance.md", "docs/merging.md"])
def test_the_tables_are_those_of_the_results(name):
    """After new measurements: `python docs/tools/tables.py`."""
    filled = runpy.run_path(str(TOOLS / "tables.py"))["filled"]
    text = (ROOT / name).read_text(encoding="utf-8")
    assert filled(text) == text


def test_the_pictures_are_those_of_the_script():
    """After a change: `python docs/tools/picture.py`."""
    script = runpy.run_path(str(TOOLS / "picture.py"))
    for name, palette in script["PALETTES"].items():
        picture = ROOT / "docs" / "assets" / f"ratio-{name}.svg"
        assert script["draw"](palette) == picture.read_text(encoding="utf-8")
