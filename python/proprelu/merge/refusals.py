"""Refuses models that cannot be merged, in one line."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from proprelu.graph import check_has_values, plain_class


def check_mergeable(model: nn.Module) -> None:
    """Raise an error for a model that cannot be merged.

    Raises:
        TypeError: it is not a module.
        ValueError: it is wrapped, in training mode, or has hooks.
    """
    check_has_values(model, "merge")
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


def check_example(example_input: object) -> None:
    """Raise an error for an example that nothing can be measured or compared with.

    Raises:
        ValueError: it is missing, or holds an empty batch.
    """
    advice = "pass a batch as it will come in use, such as torch.randn(1, 3, 224, 224)"
    if example_input is None:
        raise ValueError(f"example_input must be given, got None; {advice}")
    for value in tree_leaves(example_input):
        if isinstance(value, Tensor) and not value.numel():
            raise ValueError(
                f"example_input must not be empty, got a tensor of {tuple(value.shape)}; {advice}"
            )
