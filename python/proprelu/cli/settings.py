"""The settings of commands that train: names, defaults, help, and the TOML file with them."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

import tomli_w

if sys.version_info >= (3, 11):
    from typing import Self

    import tomllib
else:
    import tomli as tomllib
    from typing_extensions import Self

__all__ = [
    "SETTINGS",
    "Settings",
    "SettingsError",
    "SweepSettings",
    "TrainingSettings",
    "as_option",
    "new_folder",
    "read_settings",
    "recorded_settings",
]

# The file of settings in the folder of a run or a sweep.
SETTINGS = "settings.toml"

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
class TrainingSettings:
    """The settings of any training. They are saved beside its results as TOML.

    The command line's options, their help and their defaults are made from these fields.
    """

    # The settings that must be at least 1.
    counts: ClassVar[tuple[str, ...]] = ("epochs", "batch_size", "threads")

    model: str = _setting("resnet20", "A model of proprelu.models or of torchvision.")
    data: str = _setting(
        "fashion-mnist-small",
        "fashion-mnist-small, fashion-mnist, cifar10, cifar100, a .npz file or a folder of IDX "
        "files.",
    )
    epochs: int = _setting(10, "Passes over the data.")
    batch_size: int = _setting(128, "Images in a step.")
    optimizer: str = _setting("sgd", "sgd or adamw.")
    lr: float | None = _setting(None, "Learning rate.", "0.1 for sgd, 0.001 for adamw")
    weight_decay: float = _setting(5e-4, "Weight decay for all weights.")
    schedule: str = _setting(
        "cosine", "Learning-rate schedule: cosine, one_cycle, step or constant."
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
    out: str | None = _setting(None, "A new folder for the results.", "one in runs/")

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = self._checked(setting.name, getattr(self, setting.name))
            object.__setattr__(self, setting.name, value)
        for name in self.counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} must be at least 1, got {value}")

    @property
    def base_lr(self) -> float:
        """The learning rate before the schedule."""
        if self.lr is not None:
            return self.lr
        return 0.1 if self.optimizer == "sgd" else 1e-3

    def with_changes(self, changes: Mapping[str, Any], source: str = "") -> Self:
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

    @classmethod
    def kind_of(cls, name: str) -> type:
        """The type of a setting, without None."""
        kind = get_type_hints(cls)[name]
        found: type = (get_args(kind) or (kind,))[0]
        return found

    @classmethod
    def _checked(cls, name: str, value: Any) -> Any:
        """The value in the type of its field; a whole number is accepted for a float."""
        kind = cls.kind_of(name)
        if value is None and type(None) in get_args(get_type_hints(cls)[name]):
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


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """The settings of ``proprelu train``."""

    counts: ClassVar[tuple[str, ...]] = (*TrainingSettings.counts, "schedule_epochs")

    ratio: str = _setting("1:1", "Convolutions to ReLUs.")
    placement: str = _setting(
        "last", "Which ReLUs stay: last, first, even, front, back or block_last."
    )
    schedule_epochs: int | None = _setting(
        None,
        "Epochs over which the schedule runs, for a run that will be resumed.",
        "those of --epochs",
    )
    seed: int = _setting(0, "Seed of weights, order and augmentation.")


@dataclass(frozen=True)
class SweepSettings(TrainingSettings):
    """The settings of ``proprelu sweep``."""

    counts: ClassVar[tuple[str, ...]] = (
        *TrainingSettings.counts,
        "seeds",
        "budget",
        "images",
        "workers",
    )

    ratios: str = _setting("1:1,3:2,2:1,3:1,4:1", "Ratios to compare, with commas between.")
    placements: str = _setting(
        "last", "Which ReLUs stay: last, first, even, front, back, block_last; several with commas."
    )
    seeds: int = _setting(5, "Runs of each ratio, with seeds from 0 on.")
    budget: int | None = _setting(
        None, "Runs in all: the better half of the ratios gets more seeds, again and again.", "all"
    )
    target: float | None = _setting(
        None, "The accuracy that epochs are counted to, below 1.", "what all runs of 1:1 reach"
    )
    images: int | None = _setting(None, "Train on the first of the images only.", "all")
    workers: int | None = _setting(None, "Runs at a time.", "one for each thread, up to 8")

    @classmethod
    def _checked(cls, name: str, value: Any) -> Any:
        """As in TOML, several names may also be an array."""
        several = name in ("ratios", "placements") and isinstance(value, list)
        if several and all(isinstance(each, str) for each in value):
            value = ",".join(value)
        return super()._checked(name, value)


def as_option(value: Any) -> str:
    """The value of a setting as it is given on the command line."""
    if value is None:
        return "left out"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


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


_Kind = TypeVar("_Kind", bound=TrainingSettings)


def recorded_settings(
    defaults: _Kind,
    options: Collection[str],
    config: Path | None,
    resume: Path | None,
    what: str,
) -> _Kind:
    """The settings before the options of a command are applied.

    Args:
        defaults: those without a file.
        options: the names of the options that are given.
        config: a file of settings.
        resume: the folder of what is continued, which has such a file.
        what: it is, in a word.

    Raises:
        SettingsError: the folder has no settings, or both are given; or see ``read_settings``.
    """
    if resume is not None:
        if config is not None or "out" in options:
            raise SettingsError(
                f"--resume takes settings and folder of the {what}; drop --config, --out"
            )
        config = resume / SETTINGS
        if not config.is_file():
            raise SettingsError(
                f"--resume expects the folder of a {what}, got {resume} without {SETTINGS}"
            )
    if config is None:
        return defaults
    return defaults.with_changes(read_settings(config), str(config))


def new_folder(settings: TrainingSettings, kind: str) -> Path:
    """A folder in runs/ that is named after the settings and does not exist yet.

    Args:
        settings: of a training.
        kind: what distinguishes it from others of the same model and data.
    """
    data = Path(settings.data).stem if os.path.exists(settings.data) else settings.data
    name = f"{settings.model}-{kind.replace(':', 'x')}-{data}"
    folder, number = Path("runs", name), 1
    while folder.exists():
        number += 1
        folder = Path("runs", f"{name}-{number}")
    return folder


def _check_unicode(name: str, value: str) -> None:
    # The bytes of a path that are not UTF-8 become surrogates, which TOML cannot store.
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"{name} must be valid UTF-8, got {value!r}") from None
