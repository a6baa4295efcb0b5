"""The mark of an activation that is being blended into the identity, and its slope."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from proprelu.graph.activations import FUNCTIONS

# The name of the submodule that holds the slope; it does not collide with names of users.
SLOPE = "proprelu_slope"


def sloped(input: Tensor, activation: str, slope: Tensor, **settings: Any) -> Tensor:
    """Blend an activation with the identity: ``slope * x + (1 - slope) * activation(x)``.

    For a ReLU this is a Leaky ReLU: the plain ReLU at slope 0, and the identity at slope 1.

    Args:
        input: any tensor.
        activation: the name of a function, as in ``dropped``; it is never applied in place.
        slope: (1,), between 0 and 1.
        settings: the arguments of the activation other than its input.

    Returns:
        A tensor of ``input``'s shape and dtype.

    Example:
        >>> import torch
        >>> sloped(torch.tensor([-2.0, 2.0]), "relu", torch.tensor([0.5]))
        tensor([-1.,  2.])
    """
    if has_torch_function((input, slope)):
        result: Tensor = handle_torch_function(
            sloped, (input, slope), input, activation, slope, **settings
        )
        return result
    slope = slope.to(input.dtype)
    kind = activation.rstrip("_")
    if kind == "relu":
        return F.prelu(input, slope)
    active: Tensor = FUNCTIONS[kind](input, **settings)
    return active + slope * (input - active)


class Slope(nn.Module):
    """One slope, held in a buffer, for all sites of a model that are being annealed.

    The forward returns the slope, and in training mode it also adds ``rate`` to it. This happens
    inside a captured step, so that no step has to be captured again. A loop that does not set the
    rate advances the slope by ``anneal_step``.

    Args:
        epochs: the number of epochs in which the slope rises from 0 to 1.
    """

    value: Tensor
    rate: Tensor

    def __init__(self, epochs: float) -> None:
        super().__init__()
        self.epochs = epochs
        # Not part of the state_dict, which has the keys of the original model.
        self.register_buffer("value", torch.zeros(1), persistent=False)
        self.register_buffer("rate", torch.zeros(1), persistent=False)

    def forward(self) -> Tensor:
        now = self.value.clone()  # the backward reads this copy after the buffer has changed
        if self.training:
            self.value.copy_((now + self.rate).clamp(max=1))
        return now

    def advance(self, epochs: float) -> float:
        """Advance the slope by a number of epochs; returns its new value."""
        self.value.add_(epochs / self.epochs).clamp_(max=1)
        return float(self.value)

    @property
    def done(self) -> bool:
        """Whether the slope has reached 1, up to rounding."""
        return float(self.value) > 1 - 1e-3

    def extra_repr(self) -> str:
        return f"epochs={self.epochs}"


class Slopes(nn.Module):
    """A learnable slope for each site.

    The forward returns the slope of one site, (1,).

    Args:
        count: the number of sites.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(count))

    def forward(self, site: int) -> Tensor:
        return self.values[site : site + 1]
