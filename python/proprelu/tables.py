"""Tables of text: in a terminal, as plain lines and as HTML."""

from __future__ import annotations

import html
import io
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import rich.table
from rich import box
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text

__all__ = ["Table", "Tabular"]

# Wide enough that no line of plain text is broken.
_WIDTH = 100_000


@dataclass(frozen=True)
class Table:
    """A table. ``print`` gives plain lines, a rich ``Console`` fits it into a terminal.

    In a narrow terminal its columns come in several tables, below each other, and the columns that
    are aligned to the left begin each of them.

    Attributes:
        columns: the titles.
        rows: the cells, one for each column.
        title: a line above the table.
        left: how many of the columns, from the first, are aligned to the left; the others hold
            numbers and are aligned to the right.
        faint: the indices of rows that are shown dimmed.
        notes: lines below the table.

    Example:
        >>> print(Table(("name", "loss"), [("a", "0.25"), ("longer", "10.5")], left=1))
        name    loss
        a       0.25
        longer  10.5
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str | None = None
    left: int = 0
    faint: Collection[int] = ()
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
        with console.capture() as capture:
            console.print(self._rendered(range(len(self.columns)), None))
        lines = [line.rstrip() for line in capture.get().splitlines()]
        return "\n".join([*self._titles, *lines, *self.notes])

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[rich.table.Table | Text]:
        yield from map(Text, self._titles)
        for part in self._parts(console, options):
            yield self._rendered(part, box.SIMPLE_HEAD)
        yield from map(Text, self.notes)

    def to_html(self) -> str:
        """The table as HTML, for Jupyter."""
        caption = "" if self.title is None else f"<caption>{html.escape(self.title)}</caption>"
        head = self._html_row(self.columns, "th", faint=False)
        body = "".join(
            self._html_row(row, "td", index in self.faint) for index, row in enumerate(self.rows)
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>{notes}"

    @property
    def _titles(self) -> list[str]:
        return [] if self.title is None else [self.title]

    def _parts(self, console: Console, options: ConsoleOptions) -> list[list[int]]:
        """The columns of each table that fits, by their indices; all, if no table would fit."""

        def fits(columns: list[int]) -> bool:
            table = self._rendered(columns, box.SIMPLE_HEAD)
            width = Measurement.get(console, options.update(width=_WIDTH), table).maximum
            return width <= options.max_width

        first, others = list(range(self.left)), range(self.left, len(self.columns))
        if not all(fits([*first, index]) for index in others):
            return [[*first, *others]]
        parts, part = [], list(first)
        for index in others:
            if not fits([*part, index]):
                parts.append(part)
                part = list(first)
            part.append(index)
        return [*parts, part]

    def _rendered(self, columns: Sequence[int], lines: box.Box | None) -> rich.table.Table:
        table = rich.table.Table(box=lines, pad_edge=False)
        for index in columns:
            side: Literal["left", "right"] = "left" if index < self.left else "right"
            # Not cut with an ellipsis, which an ASCII terminal does not have.
            title = self.columns[index] if lines is None else self._narrow(index)
            table.add_column(Text(title), justify=side, overflow="fold")
        for number, row in enumerate(self.rows):
            # As ``Text``, so that brackets in a name are not read as markup.
            cells = [Text(row[index]) for index in columns]
            table.add_row(*cells, style="dim" if number in self.faint else None)
        return table

    def _narrow(self, index: int) -> str:
        """The title of a column, broken between words, as wide as its cells at least."""
        title = self.columns[index]
        width = max(map(len, [*title.split(), *(row[index] for row in self.rows)]), default=1)
        return textwrap.fill(title, max(1, width), break_long_words=False)

    def _html_row(self, cells: Sequence[str], tag: str, faint: bool) -> str:
        sides = ("left" if index < self.left else "right" for index in range(len(cells)))
        row = "".join(
            f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        dimmed = ' style="opacity: 0.5"' if faint else ""
        return f"<tr{dimmed}>{row}</tr>"


class Tabular(ABC):
    """Shown as a table: by ``print``, by rich and in Jupyter."""

    @abstractmethod
    def _table(self) -> Table: ...

    def __str__(self) -> str:
        return str(self._table())

    def __rich__(self) -> Table:
        return self._table()

    def _repr_html_(self) -> str:
        return self._table().to_html()
