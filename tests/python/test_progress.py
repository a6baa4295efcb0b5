"""Progress bars are drawn only in a terminal and in Jupyter, and only if they are wanted."""

import io

import pytest
from proprelu.progress import Bars
from rich.console import Console


def drawn(shown=True, **options):
    options = {"width": 80, "highlight": False, "force_jupyter": False, **options}
    console = Console(file=io.StringIO(), **options)
    with Bars(shown=shown, console=console) as bars:
        task = bars.add_task("measuring", total=2)
        bars.advance(task)
        bars.line("[half] done")
    return console.file.getvalue()


def test_a_terminal_gets_bars_and_lines():
    text = drawn(force_terminal=True)
    assert "measuring" in text
    assert "[half] done" in text


@pytest.mark.parametrize(
    "options",
    [
        {"force_terminal": False},
        {"force_terminal": True, "_environ": {"TERM": "dumb"}},
        {"force_terminal": True, "shown": False},
    ],
    ids=["pipe", "dumb", "off"],
)
def test_elsewhere_only_lines_are_written(options):
    assert drawn(**options) == "[half] done\n"
