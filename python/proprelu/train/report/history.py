"""``History``: the measurements of a training run, one row for each epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, overload

from proprelu.atomic import read_bytes, write_text
from proprelu.tables import Table, Tabular
from proprelu.train.report.plot import plot_histories

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Value: TypeAlias = int | float | None
Row: TypeAlias = dict[str, Value]

COLUMNS = (
    "epoch",
    "step",
    "lr",
    "train_loss",
    "train_top1",
    "train_top5",
    "val_loss",
    "val_top1",
    "val_top5",
    "seconds",
    "images_per_s",
)
_WHOLE = frozenset({"epoch", "step"})


class History(Tabular, Sequence[Row]):
    """The rows of a run, in the order of the epochs. Shown as a table.

    Each row has ``epoch`` (from 1), ``step`` (optimizer updates so far), ``lr`` (at the last step),
    ``train_loss``, ``train_top1``, ``train_top5`` (means over the epoch's training batches),
    ``val_loss``, ``val_top1``, ``val_top5`` (``None`` without validation data), ``seconds`` and
    ``images_per_s`` (for the training, without the validation). Accuracies are fractions of 1.

    Args:
        rows: mappings with exactly the keys of ``History.columns``.

    Raises:
        ValueError: a row has other keys.

    Example:
        >>> history = History()
        >>> history.append(dict(epoch=1, step=47, lr=0.1, train_loss=1.2, train_top1=0.55,
        ...     train_top5=0.96, val_loss=0.9, val_top1=0.68, val_top5=0.98, seconds=9.5,
        ...     images_per_s=631.0))
        >>> len(history), history.last["val_top1"], history.best("val_loss")["epoch"]
        (1, 0.68, 1)
    """

    columns: tuple[str, ...] = COLUMNS

    def __init__(self, rows: Iterable[Mapping[str, Value]] = ()) -> None:
        self.rows: list[Row] = []
        for row in rows:
            self.append(row)

    def append(self, row: Mapping[str, Value]) -> None:
        """Add the row of another epoch.

        Raises:
            ValueError: the row does not have the keys of ``History.columns``.
        """
        missing = [name for name in COLUMNS if name not in row]
        unknown = [name for name in row if name not in COLUMNS]
        if missing or unknown:
            raise ValueError(
                f"a history row must have the keys {', '.join(COLUMNS)}; "
                f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
            )
        self.rows.append({name: row[name] for name in COLUMNS})

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> History: ...
    def __getitem__(self, index: int | slice) -> Row | History:
        if isinstance(index, slice):
            return History(self.rows[index])
        return self.rows[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    def column(self, name: str) -> list[Value]:
        """One column, a value for each epoch.

        Raises:
            ValueError: there is no such column.
        """
        if name not in COLUMNS:
            raise ValueError(f'expected one of {", ".join(COLUMNS)}, got "{name}"')
        return [row[name] for row in self.rows]

    @property
    def last(self) -> Row:
        """The row of the last epoch.

        Raises:
            ValueError: no epoch is finished.
        """
        if not self.rows:
            raise ValueError("the history is empty: no epoch has been finished")
        return self.rows[-1]

    def best(self, name: str = "val_top1") -> Row:
        """The row with the lowest loss or the highest accuracy; the earliest if several are equal.

        Rows with NaN are passed over.

        Args:
            name: the column to compare.

        Raises:
            ValueError: there is no such column, or it has no values (``fit`` without ``val``).
        """
        pairs = [
            (v, row) for v, row in zip(self.column(name), self.rows, strict=True) if v is not None
        ]
        if not pairs:
            raise ValueError(f'no epoch has a "{name}": call fit with val= to measure it')
        # A loss of NaN is neither lower nor higher than others.
        pairs = [(value, row) for value, row in pairs if not math.isnan(value)] or pairs
        values = [value for value, _ in pairs]
        wanted = min(values) if name.endswith("loss") or name == "seconds" else max(values)
        return pairs[values.index(wanted)][1]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as CSV, atomically; ``None`` becomes an empty field.

        Raises:
            OSError: the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row[name] for name in COLUMNS] for row in self.rows)
        write_text(Path(path), text.getvalue())

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> History:
        """Read what ``to_csv`` wrote.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not a history; the message contains the line number.
        """
        try:
            text = read_bytes(Path(path)).decode("utf-8")
            lines = list(csv.reader(io.StringIO(text, newline="")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: expected CSV in UTF-8: {error}") from None
        if not lines or tuple(lines[0]) != COLUMNS:
            raise ValueError(f"{path}: expected a first line of {','.join(COLUMNS)}")
        history = cls()
        for number, fields in enumerate(lines[1:], start=2):
            try:
                values = zip(COLUMNS, fields, strict=True)
                history.append({name: _parse(name, field) for name, field in values})
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
        return history

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        compare: Mapping[str, History] | None = None,
        name: str = "this run",
    ) -> Figure:
        """Draw loss and accuracy over the epochs; needs the extra ``plot`` (matplotlib).

        Args:
            path: the file to save the figure to (``.png``, ``.svg``, ``.pdf``), if any.
            compare: other histories to draw beside this one, by name.
            name: the name of this one in the legend.

        Raises:
            ImportError: matplotlib is not installed.
        """
        return plot_histories({name: self, **(compare or {})}, path)

    def __repr__(self) -> str:
        return f"History({len(self)} epoch{'' if len(self) == 1 else 's'})"

    def _table(self) -> Table:
        shown = self._shown()
        rows = [[_format(name, row[name]) for _, name in shown] for row in self.rows]
        return Table([title for title, _ in shown], rows)

    def _shown(self) -> list[tuple[str, str]]:
        """Titles and names of the columns that have a value in any row."""
        return [
            (name.replace("_per_", "/").replace("_", " ").replace("top", "top-"), name)
            for name in COLUMNS
            if name in _WHOLE or not self.rows or any(v is not None for v in self.column(name))
        ]


def _format(name: str, value: Value) -> str:
    if value is None:
        return "-"
    if name in _WHOLE:
        return f"{value}"
    if "top" in name:
        return f"{100 * value:.2f}%"
    if name == "images_per_s":
        return f"{value:,.0f}"
    return f"{value:.1f}" if name == "seconds" else f"{value:.4g}"


def _parse(name: str, field: str) -> Value:
    if field == "":
        return None
    return int(field) if name in _WHOLE else float(field)
