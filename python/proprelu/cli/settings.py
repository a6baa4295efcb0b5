"""The settings of `proprelu train`: their defaults, and where they come from."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("cosine", "one_cycle", "step", "constant"),
    "precision": ("fp32", "bf16"),
}
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class SettingsError(ValueError):
    """A setting that can't be; the command line's exit code is 2."""


@dataclass(frozen=True)
class Settings:
    """What decides a run; written beside its results as TOML and read back from there.

    Attributes:
        model: a name of proprelu.models or of torchvision.
        data: a data set's name, or a path: see :func:`proprelu.cli.sources.data_by_name`.
        ratio: convolutions to ReLUs.
        placement: which ReLUs stay.
        lr: None for what suits the optimizer, 0.1 (sgd) or 0.001 (adamw).
        augment: None for what suits the data.
        threads: None for as many as torch takes by itself.
        out: the folder for the results; None for a new one in runs/.
    """

    model: str = "resnet20"
    data: str = "fashion-mnist-small"
    ratio: str = "1:1"
    placement: str = "last"
    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float | None = None
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    label_smoothing: float = 0.0
    clip_grad_norm: float | None = None
    ema_decay: float | None = None
    augment: bool = True
    precision: str = "fp32"
    device: str = "auto"
    threads: int | None = None
    seed: int = 0
    out: str | None = None

    def __post_init__(self) -> None:
        kinds = get_type_hints(Settings)
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, _checked(field.name, value, kinds[field.name]))
        if self.epochs < 1 or self.batch_size < 1 or (self.threads or 1) < 1:
            raise SettingsError("epochs, batch_size and threads must be at least 1")

    @property
    def base_lr(self) -> float:
        """The learning rate that the schedule starts from."""
        if self.lr is not None:
            return self.lr
        return 0.1 if self.optimizer == "sgd" else 1e-3

    def with_changes(self, changes: Mapping[str, Any], source: str = "") -> Settings:
        """These settings with others from `source`, whose unknown names are refused."""
        names = [field.name for field in fields(self)]
        for name in changes:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(names)}"
                raise SettingsError(f'{source}: unknown key "{name}"; {hint}')
        try:
            return replace(self, **changes)
        except SettingsError as error:
            raise SettingsError(f"{source}: {error}" if source else str(error)) from None

    def to_toml(self) -> str:
        """All settings that have a value, as TOML."""
        return "".join(f"{k} = {json.dumps(v)}\n" for k, v in asdict(self).items() if v is not None)


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file of settings.

    Raises:
        OSError: the file can't be read.
        SettingsError: it is not TOML.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: expected TOML: {error}") from None


def new_folder(settings: Settings) -> Path:
    """A folder in runs/ that is named after the settings and not there yet."""
    data = Path(settings.data).stem if os.path.exists(settings.data) else settings.data
    name = f"{settings.model}-{settings.ratio.replace(':', 'x')}-{data}"
    folder, number = Path("runs", name), 1
    while folder.exists():
        number += 1
        folder = Path("runs", f"{name}-{number}")
    return folder


def _checked(name: str, value: Any, kind: Any) -> Any:
    """The value in the field's own type; whole numbers may stand for numbers."""
    kinds = get_args(kind) or (kind,)
    if value is None and type(None) in kinds:
        return None
    if float in kinds and type(value) is int:
        value = float(value)
    if type(value) not in kinds:
        raise SettingsError(f"{name} must be {_WORDS[kinds[0]]}, got {value!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise SettingsError(f'{name} must be one of {", ".join(CHOICES[name])}, got "{value}"')
    return value
