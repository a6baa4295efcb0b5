"""Command-line options: made from the fields of settings, and named in errors."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Annotated, Any, get_args

import typer
from typer.models import ArgumentInfo

from proprelu.cli.settings import SettingsError, TrainingSettings

__all__ = ["naming_options", "with_settings"]

# An argument of a function with its value: `device="cpu"`, `epochs=4` or `override=("data",)`.
_ARGUMENT = re.compile(r'\b(\w+)=(?:\("(\w+)",\)|"?([\w.:]+\b)"?)')


def with_settings(
    kind: type[TrainingSettings],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting of a kind, before its own options.

    The command receives the settings as ``**settings``, with None for options that are not given.
    ``model`` is its argument.
    """

    def give(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [_parameter(kind, setting) for setting in fields(kind)]
        parameters += [p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return give


def _parameter(kind: type[TrainingSettings], setting: Field[Any]) -> inspect.Parameter:
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
        annotation=Annotated[kind.kind_of(setting.name) | None, info],
    )


def naming_options(command: Callable[..., None]) -> Callable[..., None]:
    """Have the errors of a command name its option instead of the argument of a function.

    An error that begins with the name of a parameter, such as ``batch_size must be``, is one of
    usage: it begins with ``--batch-size`` then, and the exit code is 2. An argument that an error
    recommends, such as ``device="cpu"``, is recommended as ``--device cpu``.
    """
    signature = inspect.signature(command, eval_str=True)
    shown = {name: _shown(parameter) for name, parameter in signature.parameters.items()}

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (ValueError, TypeError, RuntimeError) as error:
            if os.environ.get("PROPRELU_TRACEBACK"):
                raise
            text = _ARGUMENT.sub(lambda found: _recommended(found, shown), str(error))
            name, _, rest = text.partition(" ")
            if name in shown and not isinstance(error, RuntimeError):
                raise SettingsError(f"{shown[name]} {rest}") from error
            if text == str(error):
                raise
            raise _kind(error)(text) from error

    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


def _recommended(found: re.Match[str], shown: Mapping[str, str]) -> str:
    name, inner, value = found.groups()
    return f"{shown[name]} {inner or value}" if name in shown else found[0]


def _kind(error: Exception) -> type[Exception]:
    """The class of an error that is made anew; those that are derived may need other arguments."""
    kinds = (SettingsError, ValueError, TypeError, RuntimeError)
    return next(kind for kind in kinds if isinstance(error, kind))


def _shown(parameter: inspect.Parameter) -> str:
    """How a person gives a parameter: ``--batch-size``, or ``MODEL`` for an argument."""
    if any(isinstance(info, ArgumentInfo) for info in get_args(parameter.annotation)):
        return parameter.name.upper()
    return f"--{parameter.name.replace('_', '-')}"
