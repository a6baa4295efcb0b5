"""What a conversion works on: a traced model and its sites."""

import torch
from torch import nn

from proprelu.graph import Sites, Traced, find_sites, trace

_WRAPPERS: tuple[tuple[type[nn.Module], str, str], ...] = (
    (nn.parallel.DistributedDataParallel, "DistributedDataParallel", "model.module"),
    (nn.DataParallel, "DataParallel", "model.module"),
    (torch._dynamo.OptimizedModule, "torch.compile", "model._orig_mod"),
)


def inspect(model: nn.Module, example_input: object = None) -> tuple[Traced, Sites]:
    """Trace a model and find its sites, or say in one line why there is nothing to convert.

    Args:
        model: a convolutional network.
        example_input: see :func:`proprelu.graph.trace`.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: it is wrapped, can't be traced, or has no convolution or no ReLU.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    _refuse_wrapped(model)
    traced = trace(model, example_input)
    sites = find_sites(traced)
    name = type(model).__name__
    if not sites.convs:
        raise ValueError(
            f"model must have a convolution, got {name} with none; "
            "a ratio of convolutions to ReLUs needs a convolutional network"
        )
    return traced, sites


def need_sites(model: nn.Module, sites: Sites) -> None:
    """Refuse a model without any ReLU after a convolution."""
    if not sites.sites:
        linear = f" ({len(sites.others)} elsewhere)" if sites.others else ""
        raise ValueError(
            f"model must have a ReLU or ReLU6 after a convolution, got {type(model).__name__} "
            f"with none{linear}; replace its activations by ReLU first"
        )


def _refuse_wrapped(model: nn.Module) -> None:
    for wrapper, name, inner in _WRAPPERS:
        if isinstance(model, wrapper):
            raise ValueError(
                f"model must not be wrapped, got one in {name}; convert the model inside "
                f"({inner}) first and wrap the result"
            )
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            "model must be a plain torch.nn.Module, got a ScriptModule; "
            "convert the model before torch.jit compiles it"
        )
