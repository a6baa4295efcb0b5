"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["check_writable", "write_text", "written_whole"]


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces ``target`` if nothing is raised.

    A reader sees the old file or the new one, never a part, and a failure leaves nothing behind.
    The folder is created if absent. As with ``open``, a symbolic link is followed, a new file gets
    the mode that the umask leaves, and a file that is replaced keeps its mode. A device or a pipe
    cannot be replaced and is written directly.

    Raises:
        OSError: the file cannot be written; the message names ``target``.
    """
    with _named(target):
        found = _status(target)
        if found is not None and not stat.S_ISREG(found.st_mode):
            yield target
            return
        place = Path(os.path.realpath(target))
        place.parent.mkdir(parents=True, exist_ok=True)
        part = _new_part(place)
        try:
            if found is not None:
                part.chmod(stat.S_IMODE(found.st_mode))
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write a text as UTF-8, with its line ends as they are."""
    with written_whole(target) as part:
        part.write_bytes(text.encode())


def check_writable(target: Path) -> None:
    """Raise an ``OSError`` if a regular file cannot be written whole; none is changed or left."""
    with suppress(_NotWritten), written_whole(target) as part:
        if part == target:
            raise OSError(errno.EINVAL, "it is not a regular file")
        raise _NotWritten


class _NotWritten(Exception):
    """Ends a trial before the file is replaced."""


def _status(target: Path) -> os.stat_result | None:
    """The status of a file; ``None`` if there is none.

    Raises:
        IsADirectoryError: it is a folder.
    """
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return found


def _new_part(place: Path) -> Path:
    """Create an empty file beside ``place``; its name is short, however long that of ``place``."""
    part = place.with_name(f".{secrets.token_hex(8)}.part")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return part


@contextmanager
def _named(target: Path) -> Iterator[None]:
    """Name the target in the errors of the system, which may name the temporary file."""
    try:
        yield
    except OSError as error:
        if error.strerror is None or isinstance(error, (ConnectionError, TimeoutError)):
            raise  # of what is written, not of the file
        raise OSError(error.errno, f"cannot write {target}: {error.strerror}") from error
