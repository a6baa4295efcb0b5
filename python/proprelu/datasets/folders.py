"""The folders that are searched for data sets."""

from __future__ import annotations

import os
from pathlib import Path

from proprelu.cache import cache_folder

# Debian's data set packages install into this folder.
SYSTEM = Path("/usr/share/datasets")


def data_folders(root: str | os.PathLike[str] | None) -> list[Path]:
    """The folders to search, in order; downloads go to the first.

    Only ``root`` if it is given; otherwise ``$PROPRELU_DATA`` if it is set, the cache folder and
    the system's folder.
    """
    if root is not None:
        return [Path(root).expanduser()]
    own = os.environ.get("PROPRELU_DATA")
    return [*([Path(own).expanduser()] if own else []), cache_folder(), SYSTEM]


def check_split(split: str) -> None:
    """Raise ``ValueError`` unless the split is "train" or "test"."""
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", got {split!r}')
