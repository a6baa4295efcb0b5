"""Where data sets are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from proprelu.cache import cache_folder

# Debian's data set packages install into this folder.
SYSTEM = Path("/usr/share/datasets")


def data_folders(root: str | os.PathLike[str] | None) -> list[Path]:
    """``root`` alone if given; else ``$PROPRELU_DATA`` if set, the cache, the system's folder.

    A download goes to the first.
    """
    if root is not None:
        return [Path(root).expanduser()]
    own = os.environ.get("PROPRELU_DATA")
    return [*([Path(own).expanduser()] if own else []), cache_folder(), SYSTEM]


def check_split(split: str) -> None:
    """Refuses a split other than "train" and "test"."""
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", got {split!r}')
