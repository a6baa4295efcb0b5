"""Writes the results of a sweep to one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from proprelu.sweep.content import (
    MEASURES,
    SCHEMA,
    Content,
    as_mask,
    as_text,
    check_version,
    explained,
    variant_of,
)
from proprelu.sweep.costs import Costs
from proprelu.sweep.training import Run
from proprelu.sweep.variants import Variant

try:
    import fcntl
except ImportError:  # not on Windows, where two sweeps on one file are not noticed
    fcntl = None  # type: ignore[assignment]

__all__ = ["Store"]

_MEMORY = ":memory:"


class Store(Content):
    """A file of settings, variants and finished runs; a context that closes it.

    A run is written with all of its epochs, or not at all. Only one sweep at a time writes to a
    file; any program may read it meanwhile.

    Args:
        path: the file; None to keep the results in memory.

    Raises:
        OSError: the file cannot be written.
        ValueError: it is no file of results, or another sweep writes to it.
    """

    def __init__(self, path: Path | None) -> None:
        self._ids: dict[tuple[bool, ...], int] = {}
        self._owner = None if path is None else _own(path)
        db = None
        try:
            with explained(path, "write"):
                db = sqlite3.connect(path or _MEMORY, isolation_level=None)
                super().__init__(db, path)
                self._create()
        except BaseException:
            if db is not None:
                db.close()
            self._release()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(sqlite3.Error):
            # One file remains, which can be copied.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        self._release()

    def begin(
        self,
        settings: Mapping[str, Any],
        variants: Sequence[Variant],
        weights: Mapping[int, str],
    ) -> None:
        """Record a sweep, or compare it with the one in the file, which may grow.

        Args:
            settings: what has to be the same for all runs.
            variants: what is compared; others may be in the file already.
            weights: the digests of the networks that the runs start from, by seed.

        Raises:
            ValueError: something differs.
        """
        recorded = self.settings
        asked = json.loads(json.dumps(settings))
        for name in (*asked, *recorded) if recorded else ():
            if asked.get(name) != recorded.get(name):
                raise ValueError(
                    f"{name} must be {_short(recorded.get(name))} as in {self.path}, got "
                    f"{_short(asked.get(name))}; begin another sweep in another file"
                )
        known = dict(self._db.execute("SELECT seed, weights FROM seeds").fetchall())
        for seed, digest in weights.items():
            if known.get(seed, digest) != digest:
                raise ValueError(
                    f"model must be the network of {self.path}, got other first weights for seed "
                    f"{seed}; begin another sweep in another file"
                )
        with self._transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO settings VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in asked.items()],
            )
            db.executemany("INSERT OR IGNORE INTO seeds VALUES (?, ?)", weights.items())
            for variant in variants:
                self._record(db, variant)
        rows = self._db.execute("SELECT id, keep FROM variants")
        self._ids = {as_mask(row["keep"]): row["id"] for row in rows}

    def add(self, run: Run) -> None:
        """Write a finished run.

        Raises:
            OSError: the file cannot be written; the runs before are kept.
        """
        values = {
            "variant": self._ids[run.variant.keep],
            "seed": run.seed,
            "images_per_s": run.images_per_s,
            **{name: getattr(run, name) for name in MEASURES},
        }
        with self._transaction() as db:
            number = db.execute(_insert("runs", values), values).lastrowid
            for row in run.rows:
                epoch = {"run": number, **row}
                db.execute(_insert("epochs", epoch), epoch)

    def set_costs(self, costs: Mapping[Variant, Costs]) -> None:
        """Write what variants cost in use."""
        with self._transaction() as db:
            for variant, cost in costs.items():
                db.execute(
                    "UPDATE variants SET macs = ?, parameters = ?, milliseconds = ? WHERE id = ?",
                    (cost.macs, cost.parameters, cost.milliseconds, self._ids[variant.keep]),
                )

    def _create(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        new = not version and not tables
        if not new:
            check_version(version, self.path)
        # Others can read while a run is written, and a kill leaves the file whole.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        if new:
            self._db.executescript(f"BEGIN; {SCHEMA} COMMIT;")

    def _record(self, db: sqlite3.Connection, variant: Variant) -> None:
        """Write a variant; for one that is known, only under which other names it is asked for."""
        keep = as_text(variant.keep)
        row = db.execute("SELECT * FROM variants WHERE keep = ?", (keep,)).fetchone()
        if row is None:
            values = {**asdict(variant), "keep": keep, "alike": json.dumps(variant.alike)}
            db.execute(_insert("variants", values), values)
            return
        known = variant_of(row)
        names = dict.fromkeys((*known.alike, variant.name, *variant.alike))
        alike = [name for name in names if name != known.name]
        db.execute("UPDATE variants SET alike = ? WHERE keep = ?", (json.dumps(alike), keep))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path, "write"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back
                    self._db.execute("ROLLBACK")
                raise

    def _release(self) -> None:
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None


def _own(path: Path) -> int:
    """Hold the file for one sweep, as long as the descriptor that is returned is open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    if fcntl is not None:
        try:
            # Not among the locks that SQLite uses.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise ValueError(
                f"file must be used by one sweep at a time, got {path}, to which another one "
                "writes; wait until that has ended, or name another file"
            ) from None
    return descriptor


def _insert(table: str, values: Mapping[str, Any]) -> str:
    names = ", ".join(values)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in values)})"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
