"""Tables of text: in a terminal, as plain lines and as HTML."""

from __future__ import annotations

import html
import io
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import rich.table
from rich import box
from rich.console import Console
from rich.text import Text

__all__ = ["Table", "Tabular"]

# Wide enough that no line of plain text is broken.
_WIDTH = 100_000


@dataclass(frozen=True)
class Table:
    """A table. ``print`` gives plain lines, a rich ``Console`` fits it into a terminal.

    Attributes:
        columns: the titles.
        rows: the cells, one for each column.
        title: a line above the table.
        left: how many of the columns, from the first, are aligned to the left; the others hold
            numbers and are aligned to the right.
        faint: the indices of rows that are shown dimmed.

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

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
        with console.capture() as capture:
            console.print(self._rendered(None))
        lines = [line.rstrip() for line in capture.get().splitlines()]
        return "\n".join(lines if self.title is None else [self.title, *lines])

    def __rich__(self) -> rich.table.Table:
        table = self._rendered(box.SIMPLE_HEAD)
        table.title = None if self.title is None else Text(self.title)
        return table

    def to_html(self) -> str:
        """The table as HTML, for Jupyter."""
        caption = "" if self.title is None else f"<caption>{html.escape(self.title)}</caption>"
        head = self._html_row(self.columns, "th", faint=False)
        body = "".join(
            self._html_row(row, "td", index in self.faint) for index, row in enumerate(self.rows)
        )
        return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"

    def _rendered(self, lines: box.Box | None) -> rich.table.Table:
        table = rich.table.Table(box=lines, pad_edge=False, title_justify="left")
        for index, column in enumerate(self.columns):
            side: Literal["left", "right"] = "left" if index < self.left else "right"
            # Not cut with an ellipsis, which an ASCII terminal does not have.
            table.add_column(Text(column), justify=side, overflow="fold")
        for index, row in enumerate(self.rows):
            # As ``Text``, so that brackets in a name are not read as markup.
            table.add_row(*map(Text, row), style="dim" if index in self.faint else None)
        return table

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
