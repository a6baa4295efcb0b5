"""Command-line options made from the fields of ``Settings``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Annotated, Any

import typer

from proprelu.cli.settings import Settings, kind_of

__all__ = ["with_settings"]


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting, before its own options.

    The command receives the settings as ``**settings``, with None for options that are not given.
    ``model`` is its argument.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [_parameter(setting) for setting in fields(Settings)]
    parameters += [p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _parameter(setting: Field[Any]) -> inspect.Parameter:
    default = setting.metadata["without"] if setting.default is None else setting.default
    described = default is not None and not isinstance(default, bool)
    text = setting.metadata["help"] + (f" Default: {default}." if described else "")
    # The default of the option itself is None: the settings of --config come before the defaults.
    info: Any = typer.Option(help=text, show_default=False)
    if setting.name == "model":
        info = typer.Argument(metavar="MODEL", help=text, show_default=False)
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind_of(setting.name) | None, info],
    )
