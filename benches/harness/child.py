"""A system in a process of its own that runs steps on request, and sleeps otherwise.

The first line of a child is JSON: the losses of its first steps and other properties, or why it
cannot run. Then it answers each line "WARM STEPS" with a line of JSON: run WARM steps, then
time STEPS of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BENCHES = Path(__file__).parents[1]
# `cuda.py` in this folder has the name of a package of NVIDIA's that torch may import, which is
# therefore imported before the folder is put on the path.
_BOOT = """
import contextlib, sys
with contextlib.suppress(ImportError):
    import cuda.bindings
sys.path.append(sys.argv.pop(1))
from harness.talk import main
main(*sys.argv[1:])
"""
# OpenMP's threads spin for a while before they sleep.
_SETTLE = 0.03


class CannotRun(Exception):
    """A system cannot run; the message is the reason."""


def python_command(
    python: Path | str, module: str, arguments: Mapping[str, Any], seconds: int = 0
) -> list[str]:
    """The command line of a child in Python that has `serve(talk, **arguments)` of a module called.

    Args:
        seconds: time that it has until its first answer; 0 for any.
    """
    settings = json.dumps(arguments)
    return [str(python), "-c", _BOOT, str(BENCHES), module, settings, str(seconds)]


class Child:
    """The process of a system, and a context that ends it.

    Attributes:
        ready: the first answer.

    Raises:
        CannotRun: the child cannot run here, failed, or was not ready in time.
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
        self._idle_since = (time.monotonic(), 0.0)
        try:
            self.ready = self._answer()
            if "skip" in self.ready:
                raise CannotRun(self.ready["skip"])
        except BaseException:
            self.close()
            raise
        self._rest()

    def ask(self, warm: int, steps: int) -> dict[str, Any]:
        """Have one turn run: `warm` steps off the clock, then `steps` on it."""
        since, cpu = self._idle_since
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
        """Processor time between the turns, as a share of that time."""
        return self._idle_cpu / self._idle if self._idle else 0.0

    def close(self) -> None:
        """End the process, which stops when its input ends."""
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
            code = self._process.wait()
            if code == -signal.SIGALRM:
                raise CannotRun("it was not ready in time: see --minutes")
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines() or ["no message"]
            raise CannotRun(f"it ended with {code}: {lines[-1][:300]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _rest(self) -> None:
        time.sleep(_SETTLE)
        self._idle_since = (time.monotonic(), self._cpu_seconds())

    def _cpu_seconds(self) -> float:
        """Processor time of all threads that are alive."""
        total = 0
        for path in Path(f"/proc/{self._process.pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0])
            except OSError:
                continue  # that thread has just ended
        return total / 1e9


def python_child(module: str, arguments: Mapping[str, Any]) -> Child:
    """A child of this Python in this environment."""
    return Child(python_command(sys.executable, module, arguments), os.environ)
