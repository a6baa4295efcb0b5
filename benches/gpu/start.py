"""How a child begins, and what time is left for it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

from side_by_side.child import CannotRun, Child
from side_by_side.systems import BENCHES

# cuda.py in this folder has the name of the package of NVIDIA's bindings, which torch may ask for:
# so that one is imported before the folder is to be searched.
_BOOT = """
import contextlib, sys
with contextlib.suppress(ImportError):
    import cuda.bindings
sys.path.append(sys.argv.pop(1))
from gpu.child import main
main()
"""
# What is kept of the time for the rounds, in seconds.
_FOR_ROUNDS = 60.0


class Limit:
    """The time that a command may take."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def for_starting(self, last: bool) -> float:
        """Seconds that a system may take until it is ready: half of all, unless it is the last."""
        seconds = self.left() - _FOR_ROUNDS
        return seconds if last else seconds / 2


def command(*arguments: str) -> list[str]:
    """The command line of a child; see child.py for the arguments."""
    return [sys.executable, "-c", _BOOT, str(BENCHES), *arguments]


def started(arguments: Sequence[str], seconds: float) -> Child:
    """A child that is ready within that time.

    Raises:
        CannotRun: it is not, or cannot.
    """
    whole = int(seconds)
    if whole < 1:
        raise CannotRun("no time was left to start it: see --minutes, --only and --systems")
    try:
        return Child(command(*arguments, str(whole)), os.environ)
    except CannotRun as reason:
        # The child's alarm clock ends it.
        if f"ended with {-signal.SIGALRM}" in str(reason):
            raise CannotRun(f"it was not ready after {whole} s: see --minutes") from None
        raise
