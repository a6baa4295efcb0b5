"""Optimizers: their settings. The core computes the updates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from proprelu.checks import as_number
from proprelu.warned import warn


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with the mathematics and the names of ``torch.optim.SGD``.

    Args:
        lr: learning rate, before the schedule.
        momentum: the share of the last update that is added to the next.
        dampening: the share of the gradient that momentum leaves out.
        weight_decay: the L2 penalty, added to the gradient.
        nesterov: whether momentum looks ahead.
        maximize: ascend instead of descend.
        decay_norm_and_bias: whether weight decay applies to parameters with fewer than two
            dimensions: those of norms, and biases.

    Example:
        >>> SGD(lr=0.1, nesterov=True).momentum
        0.9
    """

    lr: float = 0.1
    momentum: float = 0.9
    dampening: float = 0.0
    weight_decay: float = 5e-4
    nesterov: bool = False
    maximize: bool = False
    decay_norm_and_bias: bool = True

    def settings(self) -> dict[str, Any]:
        """The settings in the form that the core reads."""
        return _settings("sgd", self)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), as torch's.

    Args:
        lr: learning rate, before the schedule.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: the share of each weight that a step takes off, times the rate.
        maximize: ascend instead of descend.
        decay_norm_and_bias: as in ``SGD``; off by default.

    Example:
        >>> AdamW(lr=1e-3).betas
        (0.9, 0.999)
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    maximize: bool = False
    decay_norm_and_bias: bool = False

    def settings(self) -> dict[str, Any]:
        """The settings in the form that the core reads."""
        return _settings("adamw", self)


Optimizer = SGD | AdamW | torch.optim.Optimizer | str

_FLAGS = ("nesterov", "maximize")
_NAMES: dict[str, type[SGD] | type[AdamW]] = {"sgd": SGD, "adamw": AdamW}


def parameter_settings(
    optimizer: Optimizer, parameters: Iterable[tuple[str, nn.Parameter]]
) -> dict[str, dict[str, Any]]:
    """The settings for each trained parameter by name, in the form that the core reads.

    Args:
        optimizer: ``SGD(...)``, ``AdamW(...)``, their names, or an instance of ``torch.optim.SGD``
            or ``torch.optim.AdamW``. Its groups and settings are used, but not its state; how it
            computes (``foreach``, ``fused``, ``capturable``) makes no difference.
        parameters: the parameters of the model with their names.

    Raises:
        ValueError: an unknown optimizer; a torch optimizer with settings that the core does not
            support, with a scheduler or with hooks, or over other parameters than the model's.
    """
    named = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
    if isinstance(optimizer, str):
        optimizer = _by_name(optimizer)
    if isinstance(optimizer, torch.optim.Optimizer):
        return _of_torch(optimizer, named)
    if not isinstance(optimizer, (SGD, AdamW)):
        raise ValueError(
            f"optimizer must be SGD(...), AdamW(...), 'sgd', 'adamw' or an instance of "
            f"torch.optim.SGD or AdamW, got {type(optimizer).__name__}"
        )
    return {name: _with_decay(optimizer, parameter).settings() for name, parameter in named}


def distinct(settings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings of all parameters, each only once."""
    found: list[dict[str, Any]] = []
    for one in settings:
        if one not in found:
            found.append(one)
    return found


def _by_name(name: str) -> SGD | AdamW:
    if name.lower() not in _NAMES:
        raise ValueError(f"optimizer must be 'sgd' or 'adamw', got {name!r}")
    return _NAMES[name.lower()]()


def _with_decay(optimizer: SGD | AdamW, parameter: Tensor) -> SGD | AdamW:
    if optimizer.decay_norm_and_bias or parameter.dim() >= 2:
        return optimizer
    return replace(optimizer, weight_decay=0.0)


def _settings(name: str, optimizer: SGD | AdamW) -> dict[str, Any]:
    settings = asdict(optimizer)
    del settings["decay_norm_and_bias"]
    if "betas" in settings:
        settings["beta1"], settings["beta2"] = settings.pop("betas")
    return {"name": name, **{key: _plain(key, value) for key, value in settings.items()}}


def _plain(key: str, value: Any) -> float | bool:
    return bool(value) if key in _FLAGS else as_number(key, value)


def _of_torch(
    optimizer: torch.optim.Optimizer, named: list[tuple[str, nn.Parameter]]
) -> dict[str, dict[str, Any]]:
    if type(optimizer) not in (torch.optim.SGD, torch.optim.AdamW):
        raise ValueError(
            f"optimizer must be an instance of torch.optim.SGD or AdamW, "
            f"got {type(optimizer).__name__}; pass one of those, or SGD(...) or AdamW(...)"
        )
    _refuse_attached(optimizer)
    hooks = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        _global_optimizer_pre_hooks,
        _global_optimizer_post_hooks,
    )
    if any(hooks) or "step" in vars(optimizer):
        raise ValueError(
            "the optimizer must have no hooks of its step and no step that was replaced, which the "
            "trainer does not call; remove them, or train in a loop of your own"
        )
    names = {id(parameter): name for name, parameter in named}
    settings: dict[str, dict[str, Any]] = {}
    for group in optimizer.param_groups:
        ours = _of_group(type(optimizer), group)
        for parameter in group["params"]:
            name = names.get(id(parameter))
            if name is not None:
                settings[name] = ours
            elif parameter.requires_grad:
                raise ValueError(
                    f"the optimizer holds a parameter of shape {tuple(parameter.shape)} that is "
                    "not the model's; create the optimizer after convert, over model.parameters()"
                )
    missing = [name for name in names.values() if name not in settings]
    if missing:
        raise ValueError(
            f"the optimizer lacks {len(missing)} of the model's parameters, first {missing[0]}; "
            "create it over model.parameters(), or set requires_grad=False on the others"
        )
    return settings


def warn_of_ignored(optimizer: Optimizer) -> None:
    """Warn of the state of a torch optimizer, of which only the settings are used."""
    if isinstance(optimizer, torch.optim.Optimizer) and optimizer.state:
        kinds = sorted({kind for state in optimizer.state.values() for kind in state})
        warn(
            f"the state of the optimizer ({', '.join(kinds)}) is not taken over: the trainer uses "
            "its settings and begins with state of its own"
        )


def _refuse_attached(optimizer: torch.optim.Optimizer) -> None:
    """Refuse what would change the learning rate or the update in a loop of torch, but not here."""
    # Every scheduler leaves this entry, and many change the rate of the first step at once.
    if any("initial_lr" in group for group in optimizer.param_groups):
        raise ValueError(
            "the optimizer has a learning-rate scheduler, which fit would not step and which may "
            "have changed lr already; create the optimizer again without one, and pass the curve "
            "as schedule=, for example OneCycle() or Cosine(warmup_epochs=5)"
        )
    if any(group.get("differentiable") for group in optimizer.param_groups):
        raise ValueError("differentiable=True is not supported; create the optimizer without it")


def _of_group(kind: type[torch.optim.Optimizer], group: dict[str, Any]) -> dict[str, Any]:
    if group.get("amsgrad"):
        raise ValueError("amsgrad=True is not supported; create the optimizer without it")
    common = {key: group[key] for key in ("lr", "weight_decay", "maximize")}
    if kind is torch.optim.SGD:
        return SGD(
            momentum=group["momentum"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            **common,
        ).settings()
    return AdamW(betas=group["betas"], eps=group["eps"], **common).settings()
