"""Files are written whole or not at all, and like those of ``open`` in everything else."""

from __future__ import annotations

import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from proprelu.atomic import check_writable, write_text, written_whole
from proprelu.figures import new_figure, save_figure
from proprelu.train import History, save_weights
from torch import nn

ROW = dict.fromkeys(History.columns, 1.0) | {"epoch": 1, "step": 2}


def _csv(path: Path) -> None:
    History([ROW]).to_csv(path)


def _figure(path: Path) -> None:
    save_figure(new_figure(2, 2), path)


def _weights(path: Path) -> None:
    save_weights(nn.Linear(2, 3), path)


WRITERS = {"a.csv": _csv, "a.png": _figure, "a.safetensors": _weights}


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest):
    return request.param, WRITERS[request.param]


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.fixture
def no_space() -> AbstractContextManager[None]:
    """A context in which no file can grow beyond a few bytes."""

    @contextmanager
    def limited() -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_mode_of_the_umask(writer, tmp_path, umask):
    name, write = writer
    write(tmp_path / name)
    assert _mode(tmp_path / name) == 0o640


def test_a_file_that_is_replaced_keeps_its_mode(writer, tmp_path):
    name, write = writer
    (tmp_path / name).touch(0o600)
    write(tmp_path / name)
    assert _mode(tmp_path / name) == 0o600
    assert (tmp_path / name).stat().st_size > 0


def test_a_symbolic_link_is_followed(writer, tmp_path):
    name, write = writer
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / name, tmp_path / name
    link.symlink_to(target)  # the target need not exist yet
    write(link)
    assert link.is_symlink()
    assert target.stat().st_size > 0
    assert [path.name for path in target.parent.iterdir()] == [name]


def test_the_longest_name_is_written(writer, tmp_path):
    name, write = writer
    path = tmp_path / ("a" * (255 - len(name)) + name)
    write(path)
    write(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_directly(tmp_path):
    _csv(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    _csv(pipe)
    reader.join()
    assert got[0].startswith("epoch,step")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (".", "Is a directory"),
        ("file/a", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("a" * 256, "File name too long"),
    ],
)
@pytest.mark.parametrize("write", [_csv, _weights, check_writable])
def test_an_error_is_one_line_that_names_the_file(write, tmp_path, place, reason):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = tmp_path / place
    with pytest.raises(OSError, match=reason) as caught:
        write(path)
    assert f"cannot write {path}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "loop"]


@pytest.mark.parametrize("write", WRITERS.values())
def test_a_full_disk_is_named_and_nothing_is_left(write, tmp_path, no_space):
    path = tmp_path / "a.png"
    with no_space, pytest.raises(OSError, match="File too large") as caught:
        write(path)
    assert f"cannot write {path}" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "a"
    write_text(path, "old")

    def fail() -> None:
        with written_whole(path) as part:
            part.write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_fails_a_trial():
    with pytest.raises(OSError, match="cannot write /dev/null: it is not a regular file"):
        check_writable(Path("/dev/null"))


def test_a_trial_changes_nothing(tmp_path):
    path = tmp_path / "a"
    check_writable(path)
    assert not list(tmp_path.iterdir())
    write_text(path, "old")
    check_writable(path)
    assert path.read_text() == "old"
