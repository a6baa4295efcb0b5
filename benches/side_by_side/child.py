"""A system in a process of its own that runs steps when it is asked, and sleeps otherwise.

The child's first line is JSON: the losses of the first steps, what it says of itself, or why it
cannot run. Then for each line "WARM STEPS" it answers with the milliseconds a step.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# OpenMP's threads spin a little before they sleep.
_SETTLE = 0.03


class CannotRun(Exception):
    """A system that is left out, with the reason."""


class Child:
    """The process of a system; a context that ends it.

    Attributes:
        ready: its first answer.
        idle_share: processor time it took while others were asked, as a share of that time.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the child
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._idle = self._idle_cpu = 0.0
        self._asked = (time.monotonic(), 0.0)
        try:
            self.ready = self._answer()
        except BaseException:
            self.close()
            raise
        if "skip" in self.ready:
            self.close()
            raise CannotRun(self.ready["skip"])
        self._rest()

    def ask(self, warm: int, steps: int) -> dict[str, Any]:
        """Its answer to one turn: `warm` steps off the clock, then `steps` on it."""
        since, cpu = self._asked
        self._idle += time.monotonic() - since
        self._idle_cpu += self._cpu_seconds() - cpu
        assert self._process.stdin is not None
        self._process.stdin.write(f"{warm} {steps}\n")
        self._process.stdin.flush()
        answer = self._answer()
        self._rest()
        return answer

    @property
    def idle_share(self) -> float:
        return self._idle_cpu / self._idle if self._idle else 0.0

    def close(self) -> None:
        """End the process: it stops when its input ends."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            told = self._errors.read().strip().splitlines() or ["no message"]
            raise CannotRun(f"it ended with {self._process.returncode}: {told[-1][:300]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _rest(self) -> None:
        time.sleep(_SETTLE)
        self._asked = (time.monotonic(), self._cpu_seconds())

    def _cpu_seconds(self) -> float:
        """Of all threads that live."""
        total = 0
        for path in Path(f"/proc/{self._process.pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0])
            except OSError:
                continue  # that thread has just ended
        return total / 1e9
