"""The child's side of the protocol of `harness/child.py`."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from works.recipe import Recipe
from works.steps import Work

from harness.machine import check_device
from harness.system import System

# Arguments of `serve` that are sent as dictionaries.
_TYPES: dict[str, Any] = {"recipe": Recipe, "system": System, "work": Work}


class Talk:
    """Answers on what was standard output.

    Standard output itself is redirected to standard error, where libraries may print.

    Attributes:
        answered: whether there was an answer yet.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.answered = False

    def send(self, **answer: Any) -> None:
        """Send one answer; the first one turns off the alarm that limits the time to get ready."""
        signal.alarm(0)
        self.answered = True
        self._out.write(json.dumps(answer) + "\n")
        self._out.flush()

    def requests(self) -> Iterator[tuple[int, int]]:
        """Warm-up and timed steps of each turn, until the parent closes the pipe."""
        for line in sys.stdin:
            warm, steps = map(int, line.split())
            yield warm, steps


def main(module: str, arguments: str, seconds: str) -> None:
    """Run `serve` of a module with arguments in JSON; an alarm limits the time to get ready."""
    talk = Talk()
    signal.alarm(int(seconds))
    try:
        settings = json.loads(arguments)
        for name in _TYPES.keys() & settings.keys():
            settings[name] = _TYPES[name](**settings[name])
        check_device(settings["device"])
        importlib.import_module(module).serve(talk, **settings)
    except Exception as error:
        if talk.answered:
            raise
        lines = str(error).strip().splitlines() or [""]
        talk.send(skip=f"{type(error).__name__}: {lines[0][:300]}")
