"""Writes the results of a sweep to one SQLite file."""

from __future__ import annotations

import json
import shutil
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
    check_results,
    explained,
    variant_of,
)
from proprelu.sweep.costs import Costs
from proprelu.sweep.owner import Owner
from proprelu.sweep.training import Run
from proprelu.sweep.variants import Variant

__all__ = ["Store"]

_MEMORY = ":memory:"


class Store(Content):
    """A file of settings, variants and finished runs; a context that closes it.

    A run is written with all of its epochs, or not at all. Only one sweep at a time writes to a
    file; any program may read it meanwhile.

    Args:
        path: the file; None to keep the results in memory. A new one is removed again if an
            error ends the sweep before any run is finished.

    Raises:
        OSError: the file cannot be written.
        ValueError: it is no file of results, or another sweep writes to it.
    """

    def __init__(self, path: Path | None) -> None:
        self._ids: dict[tuple[bool, ...], int] = {}
        self._owner = None if path is None else Owner(path)
        db = None
        try:
            with explained(path, "write"):
                # SQLite has names of its own for what is no file, such as ":memory:".
                name = _MEMORY if path is None else str(path.absolute())
                db = sqlite3.connect(name, isolation_level=None)
                super().__init__(db, path)
                self._create()
        except BaseException as error:
            if db is not None:
                db.close()
            self._end(remove=isinstance(error, Exception))
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        empty = False
        with suppress(sqlite3.Error):
            empty = not self._has_runs() and not (self.running and self.running.exists())
            # One file remains, which can be copied.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        self._end(remove=empty and isinstance(error, Exception))

    def begin(
        self,
        settings: Mapping[str, Any],
        variants: Sequence[Variant],
        weights: Mapping[int, str],
    ) -> None:
        """Record a sweep, or compare it with the one in the file, which may grow.

        A sweep without a finished run is replaced by one with other settings.

        Args:
            settings: what has to be the same for all runs.
            variants: what is compared; others may be in the file already.
            weights: the digests of the networks that the runs start from, by seed.

        Raises:
            ValueError: something differs.
        """
        asked = json.loads(json.dumps(settings))
        with self._transaction() as db:
            try:
                self._compare(asked, weights)
            except ValueError:
                if self._has_runs():
                    raise
                for table in ("settings", "seeds", "variants"):
                    db.execute(f"DELETE FROM {table}")
                self.drop_running()
            db.executemany(
                "INSERT OR IGNORE INTO settings VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in asked.items()],
            )
            db.executemany("INSERT OR IGNORE INTO seeds VALUES (?, ?)", weights.items())
            for variant in variants:
                self._record(db, variant)
        rows = self._db.execute("SELECT id, keep FROM variants")
        self._ids = {as_mask(row["keep"]): row["id"] for row in rows}

    def _compare(self, asked: Mapping[str, Any], weights: Mapping[int, str]) -> None:
        """Raise a ``ValueError`` if a sweep differs from the one in the file."""
        recorded = self.settings
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

    @property
    def running(self) -> Path | None:
        """The folder of runs that are not finished, beside the file."""
        return None if self.path is None else self.path.with_name(f"{self.path.name}-running")

    def drop_running(self) -> None:
        """Remove the runs that are not finished."""
        if self.running is not None:
            shutil.rmtree(self.running, ignore_errors=True)

    def _has_runs(self) -> bool:
        return bool(self._db.execute("SELECT count(*) FROM runs").fetchone()[0])

    def _create(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        new = not version and not tables
        if not new:
            check_results(self._db, self.path)
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

    def _end(self, remove: bool) -> None:
        """Let others use the file, or remove it if it is new."""
        owner, self._owner = self._owner, None
        if owner is not None:
            if remove and owner.created:
                owner.remove()
            owner.release()


def _insert(table: str, values: Mapping[str, Any]) -> str:
    names = ", ".join(values)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in values)})"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
