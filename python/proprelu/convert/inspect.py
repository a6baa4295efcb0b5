"""Traces a model and finds its sites, with errors for models that cannot be converted."""

from collections.abc import Collection

from torch import nn

from proprelu.graph import FUNCTIONS, RECTIFIERS, Sites, Traced, check_model, find_sites, trace

_NAMES = {"relu": "ReLU", "relu6": "ReLU6"}


def inspect(
    model: nn.Module,
    example_input: object = None,
    activations: Collection[str] = RECTIFIERS,
) -> tuple[Traced, Sites]:
    """Trace a model and find its sites.

    Args:
        model: a convolutional network.
        example_input: see ``proprelu.graph.trace``.
        activations: the kinds of activations that count as sites.

    Returns:
        The traced model and its sites.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: the model is wrapped, cannot be traced, or has no convolution; or
            ``activations`` holds an unknown name.
    """
    kinds = _checked(activations)
    check_model(model, "convert")
    traced = trace(model, example_input)
    sites = find_sites(traced, kinds)
    name = type(model).__name__
    if not sites.convs:
        raise ValueError(
            f"model must have a convolution, got {name} with none; "
            "a ratio of convolutions to ReLUs needs a convolutional network"
        )
    return traced, sites


def need_sites(model: nn.Module, sites: Sites, activations: Collection[str] = RECTIFIERS) -> None:
    """Raise a ``ValueError`` if a model has no site."""
    if not sites.sites:
        linear = f" ({len(sites.others)} elsewhere)" if sites.others else ""
        names = " or ".join(_NAMES.get(kind, kind) for kind in _checked(activations))
        raise ValueError(
            f"model must have a {names} after a convolution, got {type(model).__name__} "
            f"with none{linear}; name the activations that it uses, "
            'for example activations=("silu",), or replace them by ReLU first'
        )


def _checked(activations: Collection[str]) -> tuple[str, ...]:
    names = (activations,) if isinstance(activations, str) else tuple(activations)
    for name in names:
        if name not in FUNCTIONS:
            raise ValueError(f"activations must be among {', '.join(FUNCTIONS)}, got {name!r}")
    return names
