"""Leading a network to its ratio step by step."""

from dataclasses import dataclass

from torch import nn

from proprelu.graph import SLOPE, Rewritten, Slope, settle


@dataclass(frozen=True)
class Anneal:
    """How long the sites that a conversion drops take from their activation to linear.

    Each of them computes ``slope * x + (1 - slope) * activation(x)``, for a ReLU a Leaky ReLU,
    whose slope goes from 0 to 1 in equal steps: the network is the same at first, and converted
    at the end. A ReLU, a Leaky ReLU and a dropped one are the same thing at slopes of 0, between,
    and 1.

    Args:
        epochs: above 0; need not be whole.

    Raises:
        ValueError: no number above 0.

    Reference:
        After the view of a dropped ReLU as a Leaky ReLU of slope 1 in Zhao et al., "Rethink ReLU
        to Training Better CNNs", arXiv 1709.06247; the schedule is ours.
    """

    epochs: float

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise ValueError(f"epochs must be above 0, got {self.epochs}")


def anneal_step(model: nn.Module, steps_per_epoch: int = 1) -> float:
    """Lead an annealed model on, in a loop of one's own; :class:`Trainer` does it by itself.

    At the end of the way the sites become plain dropped ones; further calls do nothing.

    Args:
        model: what ``convert(..., anneal=Anneal(...))`` returned, not a wrapper of it.
        steps_per_epoch: how often this is called in an epoch: once, or after each step.

    Returns:
        The slope that holds now, 0 to 1.

    Raises:
        ValueError: ``model`` is no converted one.

    Example:
        >>> from proprelu import convert
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> net = convert(net, "2:1", anneal=Anneal(epochs=2))
        >>> anneal_step(net), anneal_step(net), anneal_step(net)
        (0.5, 1.0, 1.0)
    """
    if not isinstance(model, Rewritten):
        raise ValueError(
            f"model must be what convert returned, got {type(model).__name__}; "
            "give the converted model itself, not a wrapper"
        )
    if steps_per_epoch < 1:
        raise ValueError(f"steps_per_epoch must be 1 at least, got {steps_per_epoch}")
    slope = getattr(model, SLOPE, None)
    if not isinstance(slope, Slope):
        return 1.0
    now = slope.advance(1 / steps_per_epoch)
    if slope.done:
        settle(model)
        return 1.0
    return now
