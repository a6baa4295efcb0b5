"""Watches what Python does while a function runs, and finds the line that does it."""

from __future__ import annotations

import gc
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from types import FrameType
from typing import Any

import torch

from proprelu.graph.where import is_own, line_of

__all__ = ["first_change", "outside_seen"]

_PYTHON = sysconfig.get_path("stdlib")
_SEEDS = ("manual_seed", "seed")


@contextmanager
def outside_seen() -> Iterator[list[str]]:
    """Collect what own code reads or writes outside of the program: clocks, files, the screen.

    Yields:
        One entry for each such call, with its line.
    """
    seen: list[str] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            what = _outside(called)
            where = what and _own_line(frame, through_torch=called.__name__ in _SEEDS)
            if where:
                seen.append(f"{what}, at {where}")

    before, collecting = sys.getprofile(), gc.isenabled()
    gc.disable()  # callbacks of the collector, and finalizers, do not belong to the function
    sys.setprofile(watch)
    try:
        yield seen
    finally:
        _profile_again(before)
        if collecting:
            gc.enable()


def _profile_again(before: Any) -> None:
    """Go on with the profiler that was set, if any."""
    if before is None or callable(before):
        sys.setprofile(before)
    else:  # written in C, such as cProfile: it sets itself
        sys.setprofile(None)
        before.enable()


def _outside(called: Any) -> str | None:
    name, module = called.__name__, called.__module__
    owner = getattr(called, "__self__", None)
    if module == "time" or (isinstance(owner, type) and issubclass(owner, date)):
        return "reads the clock"
    if name == "print" and module == "builtins":
        return "prints"
    if name == "write" and type(owner).__name__ in ("TextIOWrapper", "BufferedWriter", "FileIO"):
        return "writes to a file"
    if name in _SEEDS and isinstance(owner, torch.Generator):
        return "seeds a random generator"
    if name == "urandom":
        return "draws random numbers of the system"
    return None


def _own_line(frame: FrameType | None, through_torch: bool = False) -> str | None:
    """The line of own code that calls, directly or through Python's library, or torch's too."""
    while frame is not None:
        file = frame.f_code.co_filename
        if is_own(file):
            return line_of(file, frame.f_lineno)
        if through_torch:
            frame = frame.f_back
            continue
        # A warning is shown once, whatever number of times the forward runs.
        if not file.startswith(_PYTHON) or "site-packages" in file or file.endswith("warnings.py"):
            return None
        frame = frame.f_back
    return None


def first_change(run: Callable[[], Any], read: Callable[[], Any]) -> str | None:
    """The line of own code after which ``read`` returns something new while ``run`` runs."""
    start = read()
    last: tuple[str, int] | None = None
    found: str | None = None

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal last, found
        if found is not None or not is_own(frame.f_code.co_filename):
            return None
        if event in ("line", "return") and last is not None and read() != start:
            found = line_of(*last)
        if event == "line":
            last = (frame.f_code.co_filename, frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return found
