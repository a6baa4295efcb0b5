"""Loads torch and then the extension, which is linked to torch's libraries.

Anything that is wrong with them is found here, before other modules import them: with another
version of torch the extension would fail with an unhelpful message about an unknown symbol. The
command line has to report such a problem, and an interrupt, without a traceback. It is handled here
too, because the package is imported before any of its commands.
"""

from __future__ import annotations

import importlib
import os
import platform
import signal
import sys
from typing import Any

from proprelu._torch_version import BUILT_FOR, matches
from proprelu.findings import Finding, report

__all__ = ["command_line", "load"]

_INSTALL = f"pip install 'torch=={BUILT_FOR}.*'"


def load() -> None:
    """Load torch and the extension.

    Raises:
        ImportError: one of them is missing, broken or of another version.
        SystemExit: likewise, on the command line, after a report.
    """
    arguments = command_line()
    if arguments is not None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    finding = _torch() or _extension()
    if finding is None:
        return
    if arguments is None:
        raise ImportError(finding.advice)
    if arguments[:1] == ["doctor"]:
        python = Finding("python", f"{platform.python_version()} ({sys.executable})")
        raise SystemExit(report([python, finding], "--json" in arguments))
    print(f"error: {finding.advice}", file=sys.stderr)
    raise SystemExit(1)


def command_line() -> list[str] | None:
    """The arguments of ``proprelu`` or ``python -m proprelu``; None in any other program."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word in ("-X", "-W"):
            next(words, None)
        elif word == "-m":
            return list(words) if next(words, None) == "proprelu" else None
        elif not word.startswith("-") or word == "-c":
            return list(words) if os.path.basename(word) == "proprelu" else None
    return None


def _torch() -> Finding | None:
    try:
        torch: Any = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name == "torch":
            advice = f"proprelu needs torch, which is not installed: {_INSTALL}"
            return Finding("torch", "not installed", False, advice)
        return _broken_torch(error)
    except Exception as error:
        return _broken_torch(error)
    version = str(getattr(torch, "__version__", "unknown"))
    if matches(version):
        return None
    advice = (
        f"proprelu is built for torch {BUILT_FOR}, but torch {version} is installed; "
        f"{_INSTALL}, or build proprelu from source for your torch"
    )
    return Finding("torch", version, False, advice)


def _broken_torch(error: Exception) -> Finding:
    advice = f"proprelu cannot import torch ({_line(error)}); install it again: {_INSTALL}"
    return Finding("torch", "cannot be imported", False, advice)


def _extension() -> Finding | None:
    try:
        importlib.import_module("proprelu._core")
    except ImportError as error:
        advice = f"proprelu cannot load its extension ({_line(error)}); install it again"
        return Finding("extension", "cannot be loaded", False, advice)
    except ValueError as error:  # of a variable in the environment
        return Finding("environment", "cannot be used", False, _line(error))
    return None


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _interrupted(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


load()
