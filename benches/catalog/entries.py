"""The networks: every classifier of torchvision, one of each family of timm, and some others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
import torchvision
from torch import nn

from catalog.families import SMALLEST
from catalog.networks import one_dimensional, transposed

Shape = tuple[int, ...]

# The first size that a network accepts is used: many have strides of 32 in total, some windows.
_IMAGES: tuple[Shape, ...] = tuple((1, 3, size, size) for size in (64, 96, 128, 224))
_NO_WEIGHTS = {"weights": None, "weights_backbone": None}
# Their own initialization takes longer than all the rest.
_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
}


@dataclass(frozen=True)
class Entry:
    """A network that can be built.

    Attributes:
        name: its library, and its name there.
        build: makes it, with random weights.
        shapes: input shapes; the first that its forward accepts is used.
    """

    name: str
    build: Callable[[], nn.Module]
    shapes: tuple[Shape, ...] = _IMAGES


def entries() -> list[Entry]:
    """All of them, library by library."""
    return [*_torchvision(), *_timm(), *_own()]


def _torchvision() -> Iterator[Entry]:
    for name in torchvision.models.list_models(module=torchvision.models):
        options = {"weights": None, **_OPTIONS.get(name, {})}
        build = partial(torchvision.models.get_model, name, **options)
        yield Entry(f"torchvision {name}", build)
    yield Entry("torchvision fcn_resnet50", partial(_of_torchvision, "fcn_resnet50"))
    yield Entry("torchvision fasterrcnn_resnet50_fpn.backbone", _detection_backbone)
    video = partial(torchvision.models.get_model, "r3d_18", weights=None)
    yield Entry("torchvision r3d_18", video, ((1, 3, 4, 64, 64),))


def _of_torchvision(name: str) -> nn.Module:
    model: nn.Module = torchvision.models.get_model(name, **_NO_WEIGHTS)
    return model


def _detection_backbone() -> nn.Module:
    return _of_torchvision("fasterrcnn_resnet50_fpn").get_submodule("backbone")


def _timm() -> Iterator[Entry]:
    for family in timm.list_modules():
        # A family that is newer than this list is represented by its first network.
        name = SMALLEST.get(family) or timm.list_models(module=family)[0]
        build = partial(timm.create_model, name, pretrained=False)
        yield Entry(f"timm {name}", build, _shapes_of_timm(name))


def _shapes_of_timm(name: str) -> tuple[Shape, ...]:
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return _IMAGES
    own = (1, *config.input_size)
    return (own,) if config.fixed_input_size else (*_IMAGES, own)


def _own() -> Iterator[Entry]:
    yield Entry("a 1-D network", one_dimensional, ((1, 2, 64),))
    yield Entry("a network of transposed convolutions", transposed, ((1, 3, 32, 32),))
