"""The settings of ``proprelu train``: names, defaults, help, and the TOML file that holds them."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import tomli_w

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Settings", "SettingsError", "kind_of", "new_folder", "read_settings"]

CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("cosine", "one_cycle", "step", "constant"),
    "precision": ("fp32", "bf16"),
}
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class SettingsError(ValueError):
    """An invalid setting; the command line exits with code 2."""


def _setting(default: Any, help: str, without: str | None = None) -> Any:
    """A field with the help of its option; ``without`` describes a default of None."""
    return field(default=default, metadata={"help": help, "without": without})


@dataclass(frozen=True)
class Settings:
    """The settings of a run. They are saved beside its results as TOML.

    The command line's options, their help and their defaults are made from these fields.
    """

    model: str = _setting("resnet20", "A model of proprelu.models or of torchvision.")
    data: str = _setting(
        "fashion-mnist-small",
        "fashion-mnist-small, fashion-mnist, cifar10, cifar100, a .npz file or a folder of IDX "
        "files.",
    )
    ratio: str = _setting("1:1", "Convolutions to ReLUs.")
    placement: str = _setting(
        "last", "Which ReLUs stay: last, first, even, front, back or block_last."
    )
    epochs: int = _setting(10, "Passes over the data.")
    batch_size: int = _setting(128, "Images in a step.")
    optimizer: str = _setting("sgd", "sgd or adamw.")
    lr: float | None = _setting(None, "Learning rate.", "0.1 for sgd, 0.001 for adamw")
    weight_decay: float = _setting(5e-4, "Weight decay for all weights.")
    schedule: str = _setting(
        "cosine", "Learning-rate schedule: cosine, one_cycle, step or constant."
    )
    schedule_epochs: int | None = _setting(
        None,
        "Epochs over which the schedule runs, for a run that will be resumed.",
        "those of --epochs",
    )
    label_smoothing: float = _setting(0.0, "Label smoothing of the cross-entropy.")
    clip_grad_norm: float | None = _setting(None, "Clip the norm of the gradients at this value.")
    ema_decay: float | None = _setting(
        None, "Average the weights with this decay, for example 0.999."
    )
    augment: bool = _setting(True, "Shift and flip the training images.")
    precision: str = _setting("fp32", "fp32 or bf16.")
    device: str = _setting("auto", "auto, cpu or cuda.")
    threads: int | None = _setting(None, "Threads of torch.", "torch's own choice")
    seed: int = _setting(0, "Seed of weights, order and augmentation.")
    out: str | None = _setting(None, "A new folder for the results.", "one in runs/")

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = _checked(setting.name, getattr(self, setting.name))
            object.__setattr__(self, setting.name, value)
        for name in ("epochs", "schedule_epochs", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} must be at least 1, got {value}")

    @property
    def base_lr(self) -> float:
        """The learning rate before the schedule."""
        if self.lr is not None:
            return self.lr
        return 0.1 if self.optimizer == "sgd" else 1e-3

    def with_changes(self, changes: Mapping[str, Any], source: str = "") -> Settings:
        """A copy with some settings replaced.

        Args:
            changes: new values by name.
            source: the file that they come from, for errors.

        Raises:
            SettingsError: an unknown name or an invalid value.
        """
        names = [setting.name for setting in fields(self)]
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
        """The settings that are not None, as TOML."""
        return tomli_w.dumps({k: v for k, v in asdict(self).items() if v is not None})


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file of settings.

    Raises:
        SettingsError: the file cannot be read, or is not TOML.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: expected TOML: {error}") from None
    except OSError as error:
        raise SettingsError(
            f"config must be a file of settings, got {path}: {error.strerror}"
        ) from None


def new_folder(settings: Settings) -> Path:
    """A folder in runs/ that is named after the settings and does not exist yet."""
    data = Path(settings.data).stem if os.path.exists(settings.data) else settings.data
    name = f"{settings.model}-{settings.ratio.replace(':', 'x')}-{data}"
    folder, number = Path("runs", name), 1
    while folder.exists():
        number += 1
        folder = Path("runs", f"{name}-{number}")
    return folder


def kind_of(name: str) -> type:
    """The type of a setting, without None."""
    kind = get_type_hints(Settings)[name]
    found: type = (get_args(kind) or (kind,))[0]
    return found


def _checked(name: str, value: Any) -> Any:
    """The value in the type of its field; a whole number is accepted for a float."""
    kind = kind_of(name)
    if value is None and type(None) in get_args(get_type_hints(Settings)[name]):
        return None
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise SettingsError(f"{name} must be {_WORDS[kind]}, got {value!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise SettingsError(f'{name} must be one of {", ".join(CHOICES[name])}, got "{value}"')
    if isinstance(value, str):
        _check_unicode(name, value)
    return value


def _check_unicode(name: str, value: str) -> None:
    # The bytes of a path that are not UTF-8 become surrogates, which TOML cannot store.
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"{name} must be valid UTF-8, got {value!r}") from None
