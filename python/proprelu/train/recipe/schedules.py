"""Learning-rate schedules: what the optimizer's `lr` is multiplied with, step by step."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


class _Schedule(ABC):
    def settings(self) -> str:
        """As the core reads them."""
        settings = self._settings()
        warmup = getattr(self, "warmup_epochs", 0)
        if warmup:
            settings = {"name": "warmup", "length": warmup, "unit": "epochs", "then": settings}
        return json.dumps(settings)

    @abstractmethod
    def _settings(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Constant(_Schedule):
    """The same rate throughout.

    Args:
        warmup_epochs: epochs over which the rate first rises linearly.
    """

    warmup_epochs: int = 0

    def _settings(self) -> dict[str, Any]:
        return {"name": "constant"}


@dataclass(frozen=True)
class Step(_Schedule):
    """The rate times `gamma` after every `step_size` epochs, as torch's `StepLR`.

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
    """Half a cosine from the rate down to `eta_min_factor` of it (arXiv 1608.03983).

    Args:
        eta_min_factor: the share of the rate that is left at the end.
        warmup_epochs: epochs over which the rate first rises linearly.
    """

    eta_min_factor: float = 0.0
    warmup_epochs: int = 0

    def _settings(self) -> dict[str, Any]:
        return {"name": "cosine", "eta_min_factor": self.eta_min_factor}


@dataclass(frozen=True)
class OneCycle(_Schedule):
    """Up and down once, as torch's `OneCycleLR` (Smith and Topin, arXiv 1708.07120).

    The optimizer's `lr` is the top of the cycle. There is no cycle of the momentum.

    Args:
        pct_start: the share of the steps that goes up.
        div_factor: the cycle starts at the top divided by it.
        final_div_factor: and ends at its start divided by it.
        anneal_strategy: `"cos"` or `"linear"`.
    """

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal_strategy: str = "cos"

    def _settings(self) -> dict[str, Any]:
        return {"name": "one_cycle", **vars(self)}


Schedule = Constant | Step | Cosine | OneCycle | str

_NAMES: dict[str, type[Constant] | type[Cosine] | type[OneCycle]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one_cycle": OneCycle,
}


def schedule_settings(schedule: Schedule) -> str:
    """The settings as the core reads them.

    Raises:
        ValueError: an unknown schedule.
    """
    if isinstance(schedule, str) and schedule in _NAMES:
        return _NAMES[schedule]().settings()
    if isinstance(schedule, _Schedule):
        return schedule.settings()
    got = repr(schedule) if isinstance(schedule, str) else type(schedule).__name__
    raise ValueError(
        f"schedule must be Constant(), Step(...), Cosine(), OneCycle() or one of "
        f"{', '.join(map(repr, _NAMES))}, got {got}"
    )
