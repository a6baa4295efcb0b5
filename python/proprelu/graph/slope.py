"""The slopes of activations that are being blended into the identity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The name of the buffer that holds the slope, unless the model has something of that name.
SLOPE = "proprelu_slope"


class Slope:
    """One slope for all sites of a model that are being annealed.

    It is held in buffers of the model itself, which are not part of the ``state_dict``: a module
    of its own would be called by models that loop over their children, as ``nn.Sequential`` does.
    In training mode each forward of the model begins by adding ``rate`` to the slope and works with
    the value from before, so that a captured step advances the slope by itself. A loop that does
    not set the rate advances it by ``anneal_step``.

    Args:
        model: the model that gets the buffers, by ``attach``.
        epochs: the number of epochs in which the slope rises from 0 to 1.
    """

    def __init__(self, model: nn.Module, epochs: float) -> None:
        self.model, self.epochs = model, epochs
        self.name = SLOPE
        while any(hasattr(model, name) for name in self._names()):
            self.name += "_"

    def attach(self) -> None:
        """Register the buffers, if the model has them not yet."""
        device = next((p.device for p in self.model.parameters()), None)
        for name in self._names():
            if name not in self.model._buffers:
                zero = torch.zeros(1, device=device)
                self.model.register_buffer(name, zero, persistent=False)

    def _names(self) -> tuple[str, str, str]:
        return self.name, f"{self.name}_rate", f"{self.name}_now"

    @property
    def value(self) -> Tensor:
        """The current slope, (1,)."""
        value: Tensor = getattr(self.model, self.name)
        return value

    @property
    def rate(self) -> Tensor:
        """What each forward in training mode adds to the slope, (1,)."""
        rate: Tensor = getattr(self.model, f"{self.name}_rate")
        return rate

    def step(self) -> None:
        """Advance by the rate; the forward that begins keeps the value from before."""
        now: Tensor = getattr(self.model, f"{self.name}_now")
        now.copy_(self.value)
        self.value.copy_((self.value + self.rate).clamp(max=1))

    def of(self, site: int) -> Tensor:
        """The slope of a site in the forward that is running, (1,)."""
        now: Tensor = getattr(self.model, f"{self.name}_now")
        return (now if self.model.training else self.value).clone()

    def advance(self, epochs: float) -> float:
        """Advance the slope by a number of epochs; returns its new value."""
        self.value.add_(epochs / self.epochs).clamp_(max=1)
        getattr(self.model, f"{self.name}_now").copy_(self.value)
        return float(self.value)

    @property
    def done(self) -> bool:
        """Whether the slope has reached 1, up to rounding."""
        return float(self.value) > 1 - 1e-3

    def remove(self) -> None:
        """Remove the buffers from the model."""
        for name in self._names():
            self.model._buffers.pop(name, None)
            self.model._non_persistent_buffers_set.discard(name)


class Slopes(nn.Module):
    """A learnable slope for each site.

    Args:
        count: the number of sites.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(count))

    def of(self, site: int) -> Tensor:
        """The slope of one site, (1,)."""
        return self.values[site : site + 1]
