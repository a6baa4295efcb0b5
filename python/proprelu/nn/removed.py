"""What stands for layers that were removed."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RemovedLayer(nn.Module):
    """Stands for a layer that was removed, and returns a copy of its input.

    ``proprelu.convert.remove_layers`` puts it in the place of the layer, so that the code around it
    stays as it is. The copy is for code that writes into a result in place. ``proprelu.merge``
    leaves nothing of it.

    Args:
        kind: what the layer was: ``"convolution"``, ``"linear"`` or ``"norm"``.

    Shape:
        Input and output: any, the same.

    Example:
        >>> x = torch.randn(2, 3, 8, 8)
        >>> torch.equal(RemovedLayer("convolution")(x), x)
        True
    """

    # Traced as one node, so that activations after it are still found as those of a convolution.
    traced_whole = True

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.removed_layer = kind

    def forward(self, input: Tensor) -> Tensor:
        return input.clone()

    def extra_repr(self) -> str:
        return self.removed_layer


class RemovedBranch(nn.Module):
    """Stands for the last layer of a residual branch that was removed, and returns zeros.

    The code of the block adds the zeros to the shortcut. ``proprelu.merge`` removes the addition as
    well.

    Args:
        kind: what the layer was: ``"convolution"``, ``"linear"`` or ``"norm"``.

    Shape:
        Input and output: any, the same.

    Example:
        >>> RemovedBranch("norm")(torch.ones(2))
        tensor([0., 0.])
    """

    traced_whole = True

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.removed_layer = kind

    def forward(self, input: Tensor) -> Tensor:
        return torch.zeros_like(input)

    def extra_repr(self) -> str:
        return self.removed_layer
