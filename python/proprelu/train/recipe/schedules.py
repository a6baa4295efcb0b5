"""Learning-rate schedules: the factor of the optimizer's ``lr`` at each step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proprelu.checks import as_number, as_whole


class _Schedule(ABC):
    def settings(self) -> dict[str, Any]:
        """The settings in the form that the core reads."""
        settings = {name: _plain(name, value) for name, value in self._settings().items()}
        warmup = as_whole("warmup_epochs", getattr(self, "warmup_epochs", 0), 0)
        if warmup:
            settings = {"name": "warmup", "length": warmup, "unit": "epochs", "then": settings}
        return settings

    @abstractmethod
    def _settings(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Constant(_Schedule):
    """A constant rate.

    Args:
        warmup_epochs: epochs over which the rate first rises linearly.
    """

    warmup_epochs: int = 0

    def _settings(self) -> dict[str, Any]:
        return {"name": "constant"}


@dataclass(frozen=True)
class Step(_Schedule):
    """Multiplies the rate by ``gamma`` after every ``step_size`` epochs, like torch's ``StepLR``.

    Args:
        step_size: epochs between two changes.
        gamma: the factor of each change.
        warmup_epochs: epochs over which the rate first rises linearly.

    Example:
        >>> Step(step_size=30).gamma
        0.1
    """

    step_size: int
    gamma: float = 0.1
    warmup_epochs: int = 0

    def _settings(self) -> dict[str, Any]:
        lengths = {"step_size": self.step_size, "unit": "epochs", "gamma": self.gamma}
        return {"name": "step", **lengths}


@dataclass(frozen=True)
class Cosine(_Schedule):
    """Half a cosine from the rate down to ``eta_min_factor`` of it (arXiv 1608.03983).

    Args:
        eta_min_factor: the fraction of the rate that remains at the end.
        warmup_epochs: epochs over which the rate first rises linearly.
    """

    eta_min_factor: float = 0.0
    warmup_epochs: int = 0

    def _settings(self) -> dict[str, Any]:
        return {"name": "cosine", "eta_min_factor": self.eta_min_factor}


@dataclass(frozen=True)
class OneCycle(_Schedule):
    """The rate rises and falls once, like torch's ``OneCycleLR`` (arXiv 1708.07120).

    The optimizer's ``lr`` is the maximum of the cycle. The momentum stays constant.

    Args:
        pct_start: the fraction of the steps in which the rate rises.
        div_factor: the maximum divided by the rate at the start.
        final_div_factor: the rate at the start divided by the rate at the end.
        anneal_strategy: ``"cos"`` or ``"linear"``.

    Reference:
        Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large
        Learning Rates", arXiv 1708.07120.
    """

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal_strategy: str = "cos"

    def _settings(self) -> dict[str, Any]:
        return {"name": "one_cycle", **vars(self)}


def _plain(name: str, value: Any) -> Any:
    if name == "step_size":
        return as_whole(name, value, 1)
    return value if isinstance(value, str) else as_number(name, value)


Schedule = Constant | Step | Cosine | OneCycle | str

_NAMES: dict[str, type[Constant] | type[Cosine] | type[OneCycle]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one_cycle": OneCycle,
}


def depends_on_length(settings: Mapping[str, Any]) -> bool:
    """Whether the curve of ``schedule_settings`` depends on the length of the training."""
    then = settings.get("then")
    return settings["name"] in ("cosine", "one_cycle") if then is None else depends_on_length(then)


def schedule_settings(schedule: Schedule) -> dict[str, Any]:
    """The settings in the form that the core reads.

    Raises:
        ValueError: an unknown schedule.
    """
    if isinstance(schedule, str) and schedule in _NAMES:
        schedule = _NAMES[schedule]()
    if isinstance(schedule, _Schedule):
        return schedule.settings()
    got = repr(schedule) if isinstance(schedule, str) else type(schedule).__name__
    raise ValueError(
        f"schedule must be Constant(), Step(...), Cosine(), OneCycle() or one of "
        f"{', '.join(map(repr, _NAMES))}, got {got}"
    )
