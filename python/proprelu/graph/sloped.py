"""What stands in a graph where an activation is on its way to linear."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from proprelu.graph.activations import FUNCTIONS

# Where a model holds its slope; no name that a user's model has.
SLOPE = "proprelu_slope"


def sloped(input: Tensor, activation: str, slope: Tensor, **settings: Any) -> Tensor:
    """Blend an activation with the identity: ``slope * x + (1 - slope) * activation(x)``.

    Of a ReLU that is a Leaky ReLU with this slope: at 0 the ReLU, at 1 nothing.

    Args:
        input: any tensor.
        activation: a function's name, as in :func:`dropped`; nothing is done in place.
        slope: of one element, in 0 to 1.
        settings: what the activation is told beside its input.

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
    """One slope for all of a model's sites that are on their way, in a buffer.

    The forward returns the slope, and in training goes on by ``rate``: within a captured step, so
    that no step has to be captured anew. A loop that does not set the rate advances it by
    :func:`anneal_step`.

    Args:
        epochs: how many epochs the way from 0 to 1 takes.
    """

    value: Tensor
    rate: Tensor

    def __init__(self, epochs: float) -> None:
        super().__init__()
        self.epochs = epochs
        # no part of the state_dict, whose keys are the original's
        self.register_buffer("value", torch.zeros(1), persistent=False)
        self.register_buffer("rate", torch.zeros(1), persistent=False)

    def forward(self) -> Tensor:
        now = self.value.clone()  # what the backward will read stays what it is
        if self.training:
            self.value.copy_((now + self.rate).clamp(max=1))
        return now

    def advance(self, epochs: float) -> float:
        """Go on by some epochs; returns where the slope is then."""
        self.value.add_(epochs / self.epochs).clamp_(max=1)
        return float(self.value)

    @property
    def done(self) -> bool:
        """Whether the way is at its end, but for rounding."""
        return float(self.value) > 1 - 1e-3

    def extra_repr(self) -> str:
        return f"epochs={self.epochs}"


class Slopes(nn.Module):
    """A slope for each of some sites, to be learned.

    The forward returns the one of a site, (1,).

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(count))

    def forward(self, site: int) -> Tensor:
        return self.values[site : site + 1]
