"""How much memory a training step takes: the growth of the process's resident memory.

From before the first gradient and momentum to the highest point of some steps: activations,
gradients, momentum and the allocator's slack. Network, batches, program and compiler are not in it.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

_SELF = Path("/proc/self")


class PeakMemory:
    """Counts from where it is made."""

    def __init__(self) -> None:
        _give_back()
        try:
            (_SELF / "clear_refs").write_text("5")
            self._before: int | None = _status("VmRSS")
        except OSError:
            self._before = None

    def megabytes(self) -> float | None:
        """The highest growth since; `None` where the kernel does not say."""
        return None if self._before is None else (_status("VmHWM") - self._before) / 1024


def _status(name: str) -> int:
    """A size in kB of the process."""
    for line in (_SELF / "status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")


def _give_back() -> None:
    """Free memory goes back to the kernel, so that using it again counts."""
    gc.collect()
    process = ctypes.CDLL(None)
    for name, arguments in (("MallocExtension_ReleaseFreeMemory", ()), ("malloc_trim", (0,))):
        if hasattr(process, name):
            getattr(process, name)(*arguments)
            return
