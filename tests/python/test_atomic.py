"""Files are written whole or not at all, and like those of ``open`` in everything else."""

from __future__ import annotations

import os
import resource
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from proprelu._core import TrainState
from proprelu.atomic import check_writable, write_text, written_whole
from proprelu.figures import new_figure, save_figure
from proprelu.train import History, load_weights, save_weights
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


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # its length is limited
    return path


def _device(path: Path) -> Path:
    path.symlink_to("/dev/null")
    return path


SPECIAL: dict[str, Callable[[Path], Path]] = {
    "pipe": _pipe,
    "socket": _socket,
    "device": _device,
}
READERS: dict[str, Callable[[Path], object]] = {
    "history": History.from_csv,
    "weights": lambda path: load_weights(nn.Linear(2, 3), path),
    "facts": TrainState.read_facts,
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_regular_file_is_not_written(writer, kind, tmp_path):
    name, write = writer
    path = SPECIAL[kind](tmp_path / name)
    before = os.stat(path)
    with pytest.raises(OSError, match=f"cannot write {path}: it is not a regular file"):
        write(path)
    assert os.stat(path).st_mode == before.st_mode


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_regular_file_is_not_read(read, kind, tmp_path):
    """Reading a pipe would block."""
    path = SPECIAL[kind](tmp_path / "a")
    with pytest.raises(OSError, match=f"cannot read {path}: it is not a regular file"):
        read(path)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_an_absent_file_is_named(read, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"cannot read {tmp_path}/a: No such file"):
        read(tmp_path / "a")


def test_a_history_that_is_no_text(tmp_path):
    for content in (b"\xff\xfe\0", b"PK\x03\x04\x00\xff", b"a\0b\n"):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.csv: expected ") as caught:
            History.from_csv(tmp_path / "a.csv")
        assert "\n" not in str(caught.value)


def test_a_link_into_an_absent_folder_is_not_written(writer, tmp_path):
    name, write = writer
    (tmp_path / name).symlink_to("absent/a")
    with pytest.raises(OSError, match="absent/a, whose folder does not exist"):
        write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


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


def test_a_failure_leaves_no_folder(tmp_path):
    def stop() -> None:
        with written_whole(tmp_path / "new" / "deep" / "a"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert not list(tmp_path.iterdir())


def test_a_trial_changes_nothing(tmp_path):
    check_writable(tmp_path / "new" / "deep" / "a")
    assert not list(tmp_path.iterdir())
    path = tmp_path / "a"
    check_writable(path)
    assert not list(tmp_path.iterdir())
    write_text(path, "old")
    check_writable(path)
    assert path.read_text() == "old"
