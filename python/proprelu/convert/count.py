"""Counts convolutions and ReLUs."""

from collections.abc import Collection
from typing import NamedTuple

from torch import nn

from proprelu.convert.inspect import inspect
from proprelu.graph import RECTIFIERS


class Count(NamedTuple):
    """The numbers of convolutions and of ReLUs after them; prints as ``"19:10"``, not reduced.

    Unlike a ``proprelu.Ratio``, which needs ``convs >= relus >= 1``, it can hold the counts of any
    model, such as ``"19:0"`` or ``"120:121"``.
    """

    convs: int
    relus: int

    def __str__(self) -> str:
        return f"{self.convs}:{self.relus}"


def ratio_of(
    model: nn.Module,
    example_input: object = None,
    *,
    activations: Collection[str] = RECTIFIERS,
    count_shortcuts: bool = False,
) -> Count:
    """Count a model's convolutions and the ReLUs (or ReLU6) applied after them.

    Uses are counted, not modules: a ReLU module that is called twice counts as two. The 1x1
    convolutions of residual shortcuts do not count, nor do convolutions of a globally pooled value
    (squeeze-and-excitation, a classifier of 1x1 convolutions). Activations after a linear layer or
    in a squeeze-and-excitation do not count either. What ``convert`` cannot change counts all the
    same, such as a ReLU in a ``torch.autograd.Function`` or in a module that ``torch.jit`` has
    compiled.

    Args:
        model: a convolutional network.
        example_input: see ``plan_for``.
        activations: see ``plan_for``.
        count_shortcuts: count the convolutions of shortcuts too.

    Returns:
        ``(convs, relus)``.

    Raises:
        ValueError: the model has no convolution, cannot be traced or is wrapped.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> print(ratio_of(net))
        2:1
    """
    _, sites = inspect(model, example_input, activations)
    applied = [site for site in sites.sites if not site.activation.dropped]
    convs = len(sites.convs) + (len(sites.shortcuts) if count_shortcuts else 0)
    return Count(convs, len(applied) + len(sites.fixed))
