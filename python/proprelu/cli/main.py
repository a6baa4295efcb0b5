"""``main``: runs the application, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings
from typing import TextIO

from rich.console import Console

from proprelu.cli.app import app
from proprelu.cli.settings import SettingsError

__all__ = ["main"]

_EXPECTED = (ValueError, TypeError, OSError, RuntimeError, ArithmeticError, ImportError)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done; 1 failed; 2 an option or an argument is wrong; 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where the terminal cannot show a character
    warnings.showwarning = _show_warning
    try:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = _run()
    except KeyboardInterrupt:
        code = 130
    sys.exit(_flushed(code))


def _run() -> int:
    try:
        app()
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except Exception as error:
        if os.environ.get("PROPRELU_TRACEBACK"):
            raise
        _show(error)
        return 2 if isinstance(error, SettingsError) else 1
    return 0


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _show(error: Exception) -> None:
    kind = "" if isinstance(error, _EXPECTED) else f"{type(error).__name__}: "
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    console.print(f"error: {kind}{_line(error)}")


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _flushed(code: int) -> int:
    """The exit code after all output is written; a reader that has gone away is no failure."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Otherwise Python tries again when it ends, and prints a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            _show(error)
            return 1
    return code
