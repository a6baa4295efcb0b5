"""How the core chooses its kernels."""

from __future__ import annotations

import os
from dataclasses import dataclass

from proprelu.cache import cache_folder

__all__ = ["CONV_ALGORITHMS", "MEMORIES", "Kernels"]

CONV_ALGORITHMS = ("auto", "direct", "winograd", "torch")
MEMORIES = ("auto", "normal", "low")


@dataclass(frozen=True)
class Kernels:
    """What a runner is told of its kernels."""

    conv_algorithm: str = "auto"
    autotune: bool = True
    memory: str = "auto"

    @property
    def tunes(self) -> bool:
        """Whether kernels are timed: `PROPRELU_AUTOTUNE=0` says no for all."""
        return self.autotune and os.environ.get("PROPRELU_AUTOTUNE") != "0"

    def saves_memory(self, on_cpu: bool) -> bool:
        """Whether the backward computes batch norms again: `"auto"` where it takes no longer."""
        return self.memory == "low" or (self.memory == "auto" and on_cpu)

    @property
    def tune_file(self) -> str:
        """Where the winners are kept."""
        return str(cache_folder() / "kernels.json")
