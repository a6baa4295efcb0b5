"""What a file of results holds, and how it is read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proprelu.sweep.costs import Costs
from proprelu.sweep.owner import check_regular
from proprelu.sweep.training import Run
from proprelu.sweep.variants import Variant
from proprelu.train import History

__all__ = [
    "FORMAT",
    "MEASURES",
    "SCHEMA",
    "Content",
    "as_mask",
    "as_text",
    "check_results",
    "explained",
    "reading",
    "variant_of",
]

FORMAT = 1
# Attributes of a run that are columns of its row, in the order of the class.
MEASURES = ("val_loss", "val_top1", "train_loss", "train_top1", "seconds", "threads", "note")
_EPOCH = ", ".join(
    f"{name} {'INTEGER' if name == 'step' else 'REAL'}" for name in History.columns[1:]
)
SCHEMA = f"""
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE variants (
    id INTEGER PRIMARY KEY, ratio TEXT NOT NULL, placement TEXT NOT NULL, convs INTEGER NOT NULL,
    relus INTEGER NOT NULL, keep TEXT NOT NULL UNIQUE, alike TEXT NOT NULL,
    macs INTEGER, parameters INTEGER, milliseconds REAL
);
CREATE TABLE seeds (seed INTEGER PRIMARY KEY, weights TEXT NOT NULL);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, variant INTEGER NOT NULL REFERENCES variants, seed INTEGER NOT NULL,
    val_top1 REAL, val_loss REAL, train_top1 REAL, train_loss REAL, images_per_s REAL,
    seconds REAL NOT NULL, threads INTEGER NOT NULL, note TEXT NOT NULL, UNIQUE (variant, seed)
);
CREATE TABLE epochs (
    run INTEGER NOT NULL REFERENCES runs, epoch INTEGER NOT NULL, {_EPOCH},
    PRIMARY KEY (run, epoch)
);
CREATE VIEW results AS
    SELECT ratio, placement, convs, relus, seed, val_top1, val_loss, train_top1, train_loss,
        images_per_s, seconds, note, macs, parameters, milliseconds
    FROM runs JOIN variants ON runs.variant = variants.id ORDER BY variants.id, seed;
PRAGMA user_version = {FORMAT};
"""


class Content:
    """The settings, variants and finished runs in an open file.

    Args:
        db: the connection.
        path: the file; None for results in memory.
    """

    def __init__(self, db: sqlite3.Connection, path: Path | None) -> None:
        self.path = path
        self._db = db
        db.row_factory = sqlite3.Row

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of all runs; empty as long as no sweep has begun."""
        rows = self._rows("SELECT name, value FROM settings ORDER BY rowid")
        return {row["name"]: json.loads(row["value"]) for row in rows}

    @property
    def variants(self) -> list[Variant]:
        """What is compared, in the order in which it was asked for."""
        return [variant_of(row) for row in self._rows("SELECT * FROM variants ORDER BY id")]

    @property
    def costs(self) -> dict[Variant, Costs]:
        """What the variants cost in use, as far as that is measured."""
        rows = self._rows("SELECT * FROM variants WHERE milliseconds IS NOT NULL ORDER BY id")
        return {
            variant_of(row): Costs(row["macs"], row["parameters"], row["milliseconds"])
            for row in rows
        }

    def runs(self) -> list[Run]:
        """The finished runs, by variant and seed."""
        variants = {row["id"]: variant_of(row) for row in self._rows("SELECT * FROM variants")}
        columns = ", ".join(History.columns)
        return [
            Run(
                variants[row["variant"]],
                row["seed"],
                tuple(
                    dict(epoch)
                    for epoch in self._rows(
                        f"SELECT {columns} FROM epochs WHERE run = ? ORDER BY epoch", row["id"]
                    )
                ),
                *(row[name] for name in MEASURES),
            )
            for row in self._rows("SELECT * FROM runs ORDER BY variant, seed")
        ]

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with explained(self.path, "read"):
            return self._db.execute(query, values).fetchall()


@contextmanager
def reading(path: Path) -> Iterator[Content]:
    """A file that is only read, also while a sweep writes to it.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no file of results.
    """
    check_regular(path)
    with explained(path, "read"):
        # A log is there while a sweep writes. Without one the file does not change, and reading it
        # as such leaves no log behind.
        log = path.with_name(f"{path.name}-wal")
        mode = "mode=ro" if log.exists() else "immutable=1"
        db = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
        try:
            check_results(db, path)
            yield Content(db, path)
        finally:
            db.close()


def check_results(db: sqlite3.Connection, path: Path | None) -> None:
    """Raise a ``ValueError`` unless a file holds results, in the format of this version."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master").fetchall()}
    if not {"settings", "variants", "runs", "epochs"} <= tables:
        raise ValueError(f"file must hold the results of a sweep, got {path}, which holds others")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise ValueError(
            f"file must be of format {FORMAT}, got {path} of format {version}; use the version of "
            "proprelu that wrote it"
        )


@contextmanager
def explained(path: Path | None, action: str) -> Iterator[None]:
    """Turn the errors of SQLite into one line that names the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"cannot {action} {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"file must hold the results of a sweep, got {path}: {error}") from error


def variant_of(row: sqlite3.Row) -> Variant:
    return Variant(
        row["ratio"],
        row["placement"],
        as_mask(row["keep"]),
        row["convs"],
        row["relus"],
        tuple(json.loads(row["alike"])),
    )


def as_text(keep: Sequence[bool]) -> str:
    return "".join("01"[each] for each in keep)


def as_mask(text: str) -> tuple[bool, ...]:
    return tuple(character == "1" for character in text)
