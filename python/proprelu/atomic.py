"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["write_text", "written_whole"]


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces ``target`` if nothing is raised.

    A reader sees the old file or the new one, never a part, and a failure leaves nothing behind.
    The folder is created if absent.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write a text as UTF-8, with its line ends as they are."""
    with written_whole(target) as part:
        part.write_bytes(text.encode())
