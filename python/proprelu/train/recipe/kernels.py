"""Settings that select the kernels of the core."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proprelu import _core
from proprelu.cache import cache_folder

__all__ = [
    "CONV_ALGORITHMS",
    "MEMORIES",
    "Kernels",
    "clear_choices",
    "stored_choices",
    "tune_file",
]

CONV_ALGORITHMS = ("auto", "direct", "winograd", "amx", "torch")
MEMORIES = ("auto", "normal", "low")


@dataclass(frozen=True)
class Kernels:
    """The selection of kernels for a program.

    Attributes:
        conv_algorithm: one of ``CONV_ALGORITHMS``; see ``Trainer``.
        autotune: whether to time the candidates.
        memory: one of ``MEMORIES``; see ``Trainer``.
    """

    conv_algorithm: str = "auto"
    autotune: bool = True
    memory: str = "auto"

    @property
    def tunes(self) -> bool:
        """Whether kernels are timed; ``PROPRELU_AUTOTUNE=0`` turns it off, and so do other words
        for no.
        """
        word = os.environ.get("PROPRELU_AUTOTUNE", "").strip().lower()
        return self.autotune and word not in ("0", "false", "no", "off")

    def saves_memory(self, on_cpu: bool) -> bool:
        """Whether the backward computes batch norms again; with ``"auto"`` on the CPU only."""
        return self.memory == "low" or (self.memory == "auto" and on_cpu)


def tune_file() -> Path:
    """The file that stores the fastest kernels."""
    return cache_folder() / "kernels.json"


def stored_choices() -> list[dict[str, Any]]:
    """The choices in the file, as ``_core.kernel_choices`` describes them."""
    return _core.kernel_choices(tune_file())


def clear_choices() -> int:
    """Remove the file; returns the number of choices that it stored."""
    count = len(stored_choices())
    tune_file().unlink(missing_ok=True)
    return count
