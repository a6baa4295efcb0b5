"""The folder for files that proprelu can generate or download again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "cuda_folder"]


def cache_folder() -> Path:
    """The cache folder: ``$XDG_CACHE_HOME/proprelu``, or ``~/.cache/proprelu``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "proprelu"


def cuda_folder() -> Path:
    """The folder for the machine code of compiled CUDA kernels."""
    return cache_folder() / "cuda"
