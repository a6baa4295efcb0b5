"""The file of results: whole after any end, readable by others, used by one sweep at a time."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from proprelu.sweep.content import reading
from proprelu.sweep.costs import Costs
from proprelu.sweep.store import Store
from proprelu.sweep.training import Run
from proprelu.sweep.variants import Variant
from proprelu.train import History

BASELINE = Variant("1:1", "last", (True, True), 2, 2)
HALF = Variant("2:1", "last", (False, True), 2, 1, ("2:1 back",))
SETTINGS: dict[str, Any] = {"epochs": 2, "optimizer": [{"name": "sgd", "lr": 0.1}], "ema": None}
WEIGHTS = {0: "aa", 1: "bb"}


def a_run(variant: Variant, seed: int, note: str = "") -> Run:
    rows = [
        dict.fromkeys(History.columns)
        | {"epoch": epoch, "step": 5 * epoch, "val_top1": 0.1 * epoch, "images_per_s": 10.0 * epoch}
        for epoch in (1, 2)
    ]
    return Run(variant, seed, tuple(rows), 0.5, 0.2, 0.4, 0.3, 1.5, 2, note)


def begun(path: Path | None, **changes: Any) -> Store:
    store = Store(path)
    try:
        store.begin({**SETTINGS, **changes}, [BASELINE, HALF], WEIGHTS)
    except BaseException:
        store.__exit__(None, None, None)
        raise
    return store


@pytest.mark.parametrize("in_memory", [False, True])
def test_what_is_written_is_read(tmp_path: Path, in_memory: bool) -> None:
    runs = [a_run(BASELINE, 0), a_run(BASELINE, 1), a_run(HALF, 1, "diverged")]
    with begun(None if in_memory else tmp_path / "new" / "a.sqlite") as store:
        for run in reversed(runs):
            store.add(run)
        store.set_costs({HALF: Costs(10, 20, 1.5), BASELINE: Costs(None, 20, 2.5)})
        assert store.runs() == runs
        assert store.settings == SETTINGS
        assert store.variants == [BASELINE, HALF]
        assert store.variants[1].alike == HALF.alike
        assert store.costs == {HALF: Costs(10, 20, 1.5), BASELINE: Costs(None, 20, 2.5)}


def test_a_file_is_readable_by_plain_sql_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with begun(path) as store:
        store.add(a_run(HALF, 0))
        other = sqlite3.connect(path)
        query = "SELECT ratio, placement, seed, val_top1 FROM results"
        assert other.execute(query).fetchall() == [("2:1", "last", 0, 0.2)]
        epochs = other.execute("SELECT epoch, step, val_top1 FROM epochs").fetchall()
        assert epochs == [(1, 5, 0.1), (2, 10, 0.2)]
        other.close()
        with reading(path) as content:
            assert content.runs() == [a_run(HALF, 0)]


def test_one_file_is_left(tmp_path: Path) -> None:
    with begun(tmp_path / "a.sqlite") as store:
        store.add(a_run(HALF, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]


def test_a_run_is_written_once(tmp_path: Path) -> None:
    with begun(tmp_path / "a.sqlite") as store:
        store.add(a_run(HALF, 0))
        with pytest.raises(ValueError, match="UNIQUE"):
            store.add(a_run(HALF, 0))
        assert len(store.runs()) == 1


def test_a_sweep_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with begun(path) as store:
        store.add(a_run(HALF, 0))
    third = Variant("2:1", "first", (True, False), 2, 1)
    same = Variant("3:2", "back", HALF.keep, 2, 1)
    with Store(path) as store:
        store.begin(SETTINGS, [BASELINE, third, same], {0: "aa", 7: "cc"})
        store.add(a_run(third, 7))
        assert store.variants == [BASELINE, HALF, third]
        assert store.variants[1].alike == ("2:1 back", "3:2 back")
        assert store.runs() == [a_run(HALF, 0), a_run(third, 7)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 3}, "epochs must be 2 as in .*, got 3; begin another sweep"),
        ({"optimizer": []}, 'optimizer must be .*"lr": 0.1.* as in .*, got \\[\\]'),
        ({"new": 1}, "new must be null as in"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with begun(tmp_path / "a.sqlite") as store:
        store.add(a_run(HALF, 0))
    with pytest.raises(ValueError, match=message):
        begun(tmp_path / "a.sqlite", **changes)


def test_other_first_weights_are_refused(tmp_path: Path) -> None:
    with begun(tmp_path / "a.sqlite") as store:
        store.add(a_run(HALF, 0))
    with (
        Store(tmp_path / "a.sqlite") as store,
        pytest.raises(ValueError, match="got other first weights for seed 1"),
    ):
        store.begin(SETTINGS, [BASELINE], {0: "aa", 1: "other"})


def test_two_sweeps_at_once_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    program = (
        "from pathlib import Path; from proprelu.sweep.store import Store; "
        f"Store(Path({str(path)!r}))"
    )
    with begun(path) as store:
        with pytest.raises(ValueError, match="used by one sweep at a time"):
            Store(path)
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "used by one sweep at a time" in other.stderr
        store.add(a_run(HALF, 0))
    with begun(path) as store:
        assert len(store.runs()) == 1


@pytest.mark.parametrize("content", [b"something else", b"SQLite format 3\x00" + b"x" * 200])
def test_other_files_are_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="file must hold the results of a sweep"):
        Store(path)
    with pytest.raises(ValueError, match="file must hold the results of a sweep"), reading(path):
        pass
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (a)")
    other.execute("PRAGMA user_version = 1")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="file must hold the results of a sweep"):
        Store(path)
    assert path.read_bytes() == before


def test_a_file_of_another_format_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with begun(path):
        pass
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    words = "file must be of format 1, got .*a.sqlite of format 2; use the version"
    with pytest.raises(ValueError, match=words):
        Store(path)
    with pytest.raises(ValueError, match=words), reading(path):
        pass


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with begun(path) as store:
        for seed in range(40):
            store.add(a_run(HALF, seed))
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(255 for _ in content[4096:])
    path.write_bytes(content)
    with pytest.raises(ValueError, match="malformed"), reading(path) as read:
        read.runs()
    with pytest.raises(ValueError, match="malformed"):
        begun(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.sqlite"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(OSError, match=r"cannot write .*a\.sqlite: .*(a directory|regular file)"):
        Store(path)
    with pytest.raises(OSError, match=r"directory|regular file"), reading(path):
        pass


def test_an_error_before_the_first_run_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.sqlite"
    with pytest.raises(ValueError, match="bad"), begun(path):
        raise ValueError("bad")
    assert not list(tmp_path.iterdir())
    # A name for which there is none left for the log.
    with pytest.raises(OSError, match="cannot write"):
        Store(tmp_path / "new" / ("a" * 252))
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_finished_runs_and_those_that_can_be_continued(tmp_path: Path) -> None:
    finished, begun_only, old = (tmp_path / name for name in ("a", "b", "c"))
    with begun(old):
        pass
    for path in (finished, begun_only, old):
        with suppress(ZeroDivisionError), begun(path) as store:
            if path == finished:
                store.add(a_run(HALF, 0))
            if path == begun_only and store.running is not None:
                store.running.mkdir()
            raise ZeroDivisionError
    assert all(path.exists() for path in (finished, begun_only, old))


def test_a_sweep_without_a_finished_run_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with begun(path) as store:
        assert store.running is not None
        store.running.mkdir()
    with Store(path) as store:
        store.begin({"epochs": 9}, [BASELINE], {5: "cc"})
        assert store.settings == {"epochs": 9}
        assert store.variants == [BASELINE]
        assert store.running is not None
        assert not store.running.exists()


def test_a_missing_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), reading(tmp_path / "none.sqlite"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Store(tmp_path / "file" / "a.sqlite")


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with begun(path) as store:
        store.add(a_run(BASELINE, 0))
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count = {pages}")

        def fill() -> None:
            for seed in range(1, 500):
                store.add(a_run(BASELINE, seed))

        with pytest.raises(OSError, match=r"cannot write .*a\.sqlite: database or disk is full"):
            fill()
    with reading(path) as content:
        kept = content.runs()
    assert kept == [a_run(BASELINE, seed) for seed in range(len(kept))]
    assert kept


def test_a_file_that_was_cut_off_by_a_kill_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    store = begun(path)
    store.add(a_run(BASELINE, 0))
    # What a killed process leaves: the file, and its log.
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("copy"))
    store.__exit__(None, None, None)
    with begun(copy / "a.sqlite") as after:
        assert after.runs() == [a_run(BASELINE, 0)]
