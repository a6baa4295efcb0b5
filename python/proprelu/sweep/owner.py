"""Holds a file of results for one sweep at a time."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows, where two sweeps on one file are not noticed
    fcntl = None  # type: ignore[assignment]

__all__ = ["Owner", "check_regular"]


class Owner:
    """Holds a file, which is created if absent, together with its folder.

    Args:
        path: the file.

    Attributes:
        created: whether the file was absent.

    Raises:
        OSError: the file cannot be written; the message names it.
        ValueError: another sweep holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._absent = [each for each in path.parents if not each.exists()]
        try:
            self.created = not path.exists()
            if not self.created:
                check_regular(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            self._remove_folders()
            raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
        if fcntl is None:
            return
        try:
            # Not among the locks that SQLite uses.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise ValueError(
                f"file must be used by one sweep at a time, got {path}, to which another one "
                "writes; wait until that has ended, or name another file"
            ) from None

    def release(self) -> None:
        """Let others use the file."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Remove the file with its logs, and the folders that were created for it."""
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):  # its name may be too long, so that it cannot exist
                self._path.with_name(f"{self._path.name}{suffix}").unlink()
        self._remove_folders()

    def _remove_folders(self) -> None:
        with suppress(OSError):  # another program uses it, or it was never created
            for folder in self._absent:
                folder.rmdir()


def check_regular(path: Path) -> None:
    """Raise an ``OSError`` if a path that exists is a folder, a pipe or a device."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
