"""The folder for files that proprelu can generate or download again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["cache_folder", "cuda_folder"]


def cache_folder() -> Path:
    """The cache folder: ``$XDG_CACHE_HOME/proprelu``, or ``~/.cache/proprelu``.

    A relative ``XDG_CACHE_HOME`` is ignored, as its specification demands. Without a home the
    folder is among the temporary files.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "proprelu"
    try:
        return Path.home() / ".cache" / "proprelu"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "proprelu"


def cuda_folder() -> Path:
    """The folder for the machine code of compiled CUDA kernels."""
    return cache_folder() / "cuda"
