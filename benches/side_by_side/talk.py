"""A child's side of the conversation in child.py."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any


class Talk:
    """Answers on what was standard output, which then goes to standard error: it may be noisy."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, **answer: Any) -> None:
        """One answer."""
        self._out.write(json.dumps(answer) + "\n")
        self._out.flush()

    def requests(self) -> Iterator[tuple[int, int]]:
        """Warm and timed steps of each turn, until the parent hangs up."""
        for line in sys.stdin:
            warm, steps = map(int, line.split())
            yield warm, steps
