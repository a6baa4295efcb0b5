"""Refuses models that cannot be merged, in one line."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from proprelu.graph import check_changeable, plain_class


def check_has_values(model: nn.Module) -> None:
    """Raise an error for what is no model, or has no values that could be merged.

    Raises:
        TypeError: it is not a module.
        ValueError: it is wrapped, or has no values.
    """
    check_changeable(model, "merge")
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        name = plain_class(model).__name__
        raise ValueError(f"model must have values, got {name} on the meta device; load its weights")


def check_mergeable(model: nn.Module) -> None:
    """Raise an error for a model that cannot be merged.

    Raises:
        TypeError: it is not a module.
        ValueError: it is wrapped, in training mode, or has hooks.
    """
    check_has_values(model)
    name = plain_class(model).__name__
    if model.training:
        raise ValueError(
            f"model must be in evaluation mode, got {name} in training mode; call model.eval(), "
            "as a merged network is for inference"
        )
    for path, module in model.named_modules():
        hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        # A layer with a hook is left alone; in other modules a graph would not run it.
        if hooks and (not path or not isinstance(module, (_ConvNd, _NormBase))):
            raise ValueError(
                f"model must have no forward hooks, got one on {path or name}; remove it, merge, "
                "and set it on a layer of the result"
            )
