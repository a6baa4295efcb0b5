"""The application with all commands, and its handling of errors."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from proprelu import _core
from proprelu.cli.convert import convert
from proprelu.cli.demo import demo
from proprelu.cli.doctor import doctor
from proprelu.cli.inspect import inspect
from proprelu.cli.settings import SettingsError
from proprelu.cli.train import train

app = typer.Typer(
    name="proprelu",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, train, inspect, convert, doctor):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"proprelu {_core.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Train convolutional networks with N convolutions to M ReLUs.

    New here? `proprelu demo` trains a small ResNet at 1:1 and at 2:1 and compares the two.

    Each command has its own help: `proprelu train --help`. Exit codes: 0 success; 1 failure, with
    one line on standard error (PROPRELU_TRACEBACK=1 shows the traceback); 2 wrong usage; 130
    interrupted.
    """


def main() -> None:
    """Run the command line; print an expected error as one line and exit with its code."""
    try:
        app()
    except (ValueError, TypeError, OSError, RuntimeError, ArithmeticError, ImportError) as error:
        if os.environ.get("PROPRELU_TRACEBACK"):
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        console.print(f"error: {lines[0]}")
        sys.exit(2 if isinstance(error, SettingsError) else 1)
