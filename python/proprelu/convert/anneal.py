"""Converts a network to its ratio gradually, during training."""

from dataclasses import dataclass

from torch import nn

from proprelu.checks import as_positive
from proprelu.graph import held, settle, slopes_in


@dataclass(frozen=True)
class Anneal:
    """The schedule by which a conversion turns its dropped sites linear.

    Each dropped site computes ``slope * x + (1 - slope) * activation(x)``, which for a ReLU is a
    Leaky ReLU. The slope rises from 0 to 1 in equal steps, so that the network is unchanged at
    first and converted at the end.

    Args:
        epochs: the duration in epochs, above 0; it may be fractional.

    Raises:
        ValueError: ``epochs`` is not above 0.

    Reference:
        Zhao et al., "Rethink ReLU to Training Better CNNs", arXiv 1709.06247, regard a dropped ReLU
        as a Leaky ReLU of slope 1; the schedule is ours.
    """

    epochs: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "epochs", as_positive("epochs", self.epochs))


def anneal_step(model: nn.Module, steps_per_epoch: int = 1) -> float:
    """Advance the slope of an annealed model in a custom loop; ``Trainer`` does it by itself.

    When the slope reaches 1, the sites become plain dropped ones; further calls do nothing.

    Args:
        model: the result of ``convert(..., anneal=Anneal(...))``, or a model around it.
        steps_per_epoch: the number of calls per epoch: 1, or the number of training steps.

    Returns:
        The current slope, 0 to 1.

    Raises:
        ValueError: ``model`` is not a converted model, or ``steps_per_epoch`` is below 1.

    Example:
        >>> from proprelu import convert
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> net = convert(net, "2:1", anneal=Anneal(epochs=2))
        >>> anneal_step(net), anneal_step(net), anneal_step(net)
        (0.5, 1.0, 1.0)
    """
    if not any(held(module) is not None for module in model.modules()):
        raise ValueError(
            f"model must be the result of convert with anneal, got {type(model).__name__} without "
            "any activation that is dropped or going to be; pass the converted model"
        )
    if steps_per_epoch < 1:
        raise ValueError(f"steps_per_epoch must be at least 1, got {steps_per_epoch}")
    now = 1.0
    for slope in slopes_in(model):
        now = slope.advance(1 / steps_per_epoch)
        if slope.done:
            settle(slope.model)
            now = 1.0
    return now
