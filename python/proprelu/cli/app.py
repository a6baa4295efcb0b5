"""The application with all commands."""

from __future__ import annotations

from typing import Annotated

import typer

from proprelu import _core
from proprelu.cli.convert import convert
from proprelu.cli.demo import demo
from proprelu.cli.doctor import doctor
from proprelu.cli.inspect import inspect
from proprelu.cli.merge import merge
from proprelu.cli.options import naming_options
from proprelu.cli.shrink import shrink
from proprelu.cli.sweep import sweep
from proprelu.cli.train import train

app = typer.Typer(
    name="proprelu",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, train, sweep, inspect, convert, merge, shrink, doctor):
    app.command()(naming_options(command))


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

    Each command has its own help: `proprelu train --help`. Exit codes: 0 done; 1 failed, with one
    line on standard error (PROPRELU_TRACEBACK=1 shows the traceback); 2 an option or an argument is
    wrong; 130 interrupted.
    """
