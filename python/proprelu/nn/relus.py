"""The activations of a network that is built with a ratio."""

from collections.abc import Sequence

from torch import nn

from proprelu._core import Ratio, plan_sites


class Dropped(nn.Identity):
    """Replaces a ReLU that the ratio drops: returns its input.

    Shape:
        any, unchanged.

    Example:
        >>> import torch
        >>> x = torch.randn(3)
        >>> Dropped()(x) is x
        True
    """

    # A conversion to another ratio reads here which activation to restore.
    dropped_activation = "relu"


def relus(
    blocks: int | Sequence[int | None],
    ratio: str | tuple[int, int] | Ratio,
    placement: str | Sequence[bool] = "last",
) -> list[nn.Module]:
    """Create the activations of a network's sites, in execution order.

    Args:
        blocks: for each site the number of its residual block, or None if it is in none; or the
            number of sites, if none of them is in a block.
        ratio: convolutions to ReLUs, for example ``"2:1"``.
        placement: see ``proprelu.plan_for``.

    Returns:
        One module for each site, an in-place ReLU or a ``Dropped``.

    Raises:
        ValueError: see ``proprelu.plan_for``.

    Example:
        >>> relus(3, "3:1")
        [Dropped(), Dropped(), ReLU(inplace=True)]
    """
    sites = [None] * blocks if isinstance(blocks, int) else blocks
    keep = plan_sites(sites, ratio, placement).keep
    return [nn.ReLU(inplace=True) if kept else Dropped() for kept in keep]
