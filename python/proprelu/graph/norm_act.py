"""Batch norms that hold their own activation, as timm's ``BatchNormAct2d``."""

from typing import TypeGuard

from torch import Tensor, nn


def is_norm_act(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """A batch norm that goes on with a module of its own, named ``act``."""
    own = not type(module).__module__.startswith("torch.")
    act = getattr(module, "act", None)
    return own and isinstance(module, nn.BatchNorm2d) and isinstance(act, nn.Module)


def only_norm(input: Tensor, module: nn.BatchNorm2d) -> Tensor:
    """Normalize as ``module`` does, without what it does after that.

    Shape:
        (N, C, H, W), unchanged.
    """
    return nn.BatchNorm2d.forward(module, input)
