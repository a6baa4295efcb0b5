"""Puts a layer in the place of another one."""

from __future__ import annotations

from torch import nn


def put(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put a module in the place of another one, wherever the model has that.

    Args:
        model: is changed.
        path: one of the paths of the module that is replaced.
        new: the module that takes its place.
    """
    old = model.get_submodule(path)
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)


def has_hooks(layer: nn.Module) -> bool:
    """Whether a layer has hooks, which another one in its place would not run.

    Those of torch which compute weights, as pruning does, are not among them.
    """
    hooks = (*layer._forward_hooks.values(), *layer._forward_pre_hooks.values())
    return not all(type(hook).__module__.startswith("torch.nn.utils.") for hook in hooks)
