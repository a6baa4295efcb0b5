"""Tables: plain lines, a terminal, HTML."""

import io

from proprelu.tables import Table
from rich.console import Console

NAMES = ["layer[1].*", "<b>:smile:", "[red]x"]
TABLE = Table(("site", "ms"), [(n, str(10**i)) for i, n in enumerate(NAMES)], "A & B", 1, {1})


def test_plain_lines_are_aligned_and_have_no_trailing_spaces():
    assert str(TABLE).splitlines() == [
        "A & B",
        "site         ms",
        "layer[1].*    1",
        "<b>:smile:   10",
        "[red]x      100",
    ]
    assert str(Table(("a", "b"), [("x", "")], left=2)) == "a  b\nx"


def test_plain_lines_are_never_broken():
    long = "word " * 500
    assert str(Table(("why",), [(long,)], long, left=1)).splitlines() == [
        long,
        "why",
        long.rstrip(),
    ]


def test_a_terminal_shows_each_cell_as_it_is():
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    console.print(TABLE)
    shown = console.file.getvalue()
    assert all(name in shown for name in [*NAMES, "A & B"])
    assert max(map(len, shown.splitlines())) <= 40


def test_a_narrow_ascii_terminal_shows_all_of_it():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Console(file=stream, width=12, force_terminal=True, color_system=None).print(TABLE)
    stream.flush()
    assert b"10" in raw.getvalue()


def test_html_is_escaped_and_dims_rows():
    page = TABLE.to_html()
    assert "<caption>A &amp; B</caption>" in page
    assert "&lt;b&gt;" in page
    assert page.count("<tr>") == 3
    assert page.count('<tr style="opacity: 0.5">') == 1


def shown(table, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_a_narrow_terminal_shows_the_columns_in_several_tables():
    columns = ("ratio", "difference to 1:1", "images/s", "parameters")
    table = Table(columns, [("2:1 last", "+0.25", "12,345", "270,896")], "A", 1, notes=["[x] note"])
    wide, narrow = shown(table, 80), shown(table, 36)
    assert (wide.count("2:1 last"), narrow.count("2:1 last")) == (1, 2)
    for text in (wide, narrow):
        assert all(text.count(word) == 1 for word in ("12,345", "270,896", "images/s", "+0.25"))
        assert text.startswith("A")
        assert text.rstrip().endswith("[x] note")
    assert max(map(len, narrow.splitlines())) <= 36


def test_a_table_that_fits_nowhere_stays_one():
    table = Table(("name", "a", "b"), [("long " * 9, "1", "2")], left=1)
    assert shown(table, 20).count("name") == 1


def test_notes_are_below_the_table():
    table = Table(("a",), [("1",)], left=1, notes=["<b> diverged"])
    assert str(table).splitlines()[-1] == "<b> diverged"
    assert table.to_html().endswith("<p>&lt;b&gt; diverged</p>")
