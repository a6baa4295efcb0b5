"""Regular files that are read whole, and written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["check_writable", "read_bytes", "write_text", "written_whole"]

_NOT_REGULAR = "it is not a regular file"


def read_bytes(path: Path) -> bytes:
    """The content of a regular file: reading a pipe would block, and a device may never end.

    Raises:
        OSError: the file cannot be read; the message names it.
    """
    with _named("read", path):
        found = _status(path)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, _NOT_REGULAR)
        return path.read_bytes()


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces ``target`` if nothing is raised.

    A reader sees the old file or the new one, never a part, and a failure leaves nothing behind.
    The folder is created if absent. As with ``open``, a symbolic link is followed, a new file gets
    the mode that the umask leaves, and a file that is replaced keeps its mode.

    Raises:
        OSError: the file cannot be written, or is no regular file but a device or a pipe, which
            must not be replaced; the message names ``target``.
    """
    with _named("write", target):
        found = _status(target)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, _NOT_REGULAR)
        place = Path(os.path.realpath(target))
        if target.is_symlink() and not place.parent.exists():
            raise OSError(errno.ENOENT, f"it links to {place}, whose folder does not exist")
        with _folder(place.parent), _part(place) as part:
            if found is not None:
                part.chmod(stat.S_IMODE(found.st_mode))
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(place)


def write_text(target: Path, text: str) -> None:
    """Write a text as UTF-8, with its line ends as they are."""
    with written_whole(target) as part:
        part.write_bytes(text.encode())


def check_writable(target: Path) -> None:
    """Raise an ``OSError`` if a regular file cannot be written whole; none is changed or left."""
    with suppress(_NotWritten), written_whole(target):
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


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Create a folder if absent, and remove what was created if anything is raised."""
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):  # another program uses it
            for each in absent:
                each.rmdir()
        raise


@contextmanager
def _part(place: Path) -> Iterator[Path]:
    """An empty file beside ``place``; its name is short, however long that of ``place``."""
    part = place.with_name(f".{secrets.token_hex(8)}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _named(action: str, target: Path) -> Iterator[None]:
    """Name the target in the errors of the system, which may name the temporary file."""
    try:
        yield
    except OSError as error:
        if error.strerror is None or isinstance(error, (ConnectionError, TimeoutError)):
            raise  # of what is written, not of the file
        raise OSError(error.errno, f"cannot {action} {target}: {error.strerror}") from error
