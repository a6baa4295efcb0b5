"""Batch norms that contain an activation, such as timm's ``BatchNormAct2d``."""

from typing import TypeGuard

from torch import Tensor, nn


def is_norm_act(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether a module is a batch norm that also applies its submodule ``act``."""
    own = not type(module).__module__.startswith("torch.")
    act = getattr(module, "act", None)
    return own and isinstance(module, nn.BatchNorm2d) and isinstance(act, nn.Module)


def only_norm(input: Tensor, module: nn.BatchNorm2d) -> Tensor:
    """Normalize as ``module`` does, without the dropout and the activation that follow in it.

    Args:
        input: (N, C, H, W).
        module: a batch norm with an activation.

    Returns:
        The normalized input, (N, C, H, W).
    """
    return nn.BatchNorm2d.forward(module, input)
