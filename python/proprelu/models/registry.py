"""Models by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from proprelu.models.densenet import densenet
from proprelu.models.mgnet import mgnet
from proprelu.models.nin import nin
from proprelu.models.resnet import resnet
from proprelu.models.vgg import vgg
from proprelu.models.vit import vit

_MODELS: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(resnet, depth) for depth in (20, 32, 44, 56, 110)},
    "nin": nin,
    **{f"vgg{depth}": partial(vgg, depth) for depth in (11, 13, 16, 19)},
    **{f"densenet{depth}": partial(densenet, depth) for depth in (40, 100, 190)},
    "mgnet": mgnet,
    "vit": vit,
}


def names() -> list[str]:
    """The names that ``create`` accepts.

    Example:
        >>> "resnet20" in names()
        True
    """
    return list(_MODELS)


def create(name: str, **options: Any) -> nn.Module:
    """Build a model by name.

    Args:
        name: one of ``names``.
        **options: ``ratio``, ``placement``, ``num_classes``, ``in_channels`` and the other
            arguments of the function that builds the model.

    Returns:
        The model, with random weights.

    Shape:
        (B, in_channels, H, W) -> (B, num_classes), for 28 x 28, 32 x 32 and other sizes.

    Raises:
        ValueError: the name is unknown, or see the function that builds the model.

    Example:
        >>> from proprelu import ratio_of
        >>> print(ratio_of(create("resnet20", ratio="2:1")))
        19:10
    """
    if name not in _MODELS:
        raise ValueError(f"model must be one of {', '.join(_MODELS)}, got {name!r}")
    return _MODELS[name](**options)
