"""The tensors that a training changes, by name: those of the model and those of its loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from proprelu._core import TrainState
from proprelu.train.recipe.optimizers import Optimizer, parameter_settings

__all__ = [
    "averaged_state",
    "averages_in_place",
    "check_optimizer",
    "fixed_state",
    "make_state",
    "named_buffers",
    "named_parameters",
]


def named_parameters(model: nn.Module, loss: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of the model, then those of the loss as ``loss.*``."""
    yield from model.named_parameters()
    for name, parameter in loss.named_parameters():
        yield f"loss.{name}", parameter


def named_buffers(model: nn.Module, loss: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The buffers of the model, then those of the loss as ``loss.*``."""
    yield from model.named_buffers()
    for name, buffer in loss.named_buffers():
        yield f"loss.{name}", buffer


def make_state(
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    ema: Mapping[str, Any] | None = None,
) -> TrainState:
    """The state of a training that has not begun. Its tensors are those of the model.

    Raises:
        ValueError: the optimizer does not fit the parameters; see ``parameter_settings``.
    """
    parameters = list(named_parameters(model, loss))
    settings = parameter_settings(optimizer, parameters)
    fixed = [(name, p) for name, p in parameters if name not in settings]
    return TrainState(
        [(name, p.detach(), settings[name]) for name, p in parameters if name in settings],
        [(name, b.detach()) for name, b in (*fixed, *named_buffers(model, loss))],
        ema,
    )


def fixed_state(model: nn.Module, loss: nn.Module) -> TrainState:
    """The state for predictions, with nothing to train. Its tensors are those of the model."""
    tensors = (*named_parameters(model, loss), *named_buffers(model, loss))
    return TrainState([], [(name, tensor.detach()) for name, tensor in tensors])


def check_optimizer(model: nn.Module, loss: nn.Module, optimizer: Optimizer) -> None:
    """Raise ``ValueError`` for an optimizer that does not fit the parameters."""
    settings = parameter_settings(optimizer, list(named_parameters(model, loss)))
    TrainState([(name, torch.empty(0, device="cpu"), own) for name, own in settings.items()], [])


def averaged_state(model: nn.Module, averages: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's ``state_dict`` with averages in place of parameters, under every name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    state = model.state_dict(keep_vars=True)
    return {
        key: averages.get(names.get(id(tensor), key), tensor.detach())
        for key, tensor in state.items()
    }


@contextmanager
def averages_in_place(
    model: nn.Module, loss: nn.Module, averages: Mapping[str, Tensor]
) -> Iterator[None]:
    """Replace parameters by their averages inside the context and restore them afterwards."""
    parameters = dict(named_parameters(model, loss)) if averages else {}
    own = {name: parameters[name].data for name in averages}
    try:
        for name, average in averages.items():
            parameters[name].data = average
        yield
    finally:
        for name, data in own.items():
            parameters[name].data = data
