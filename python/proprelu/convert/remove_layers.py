"""Removes layers that a network can do without."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from proprelu.graph import Switch, check_changeable, copied
from proprelu.merge import Removal, find_removals
from proprelu.nn import RemovedBranch, RemovedLayer


def remove_layers(
    model: nn.Module, names: Collection[str], example_input: object, inplace: bool = False
) -> nn.Module:
    """Remove convolutions and residual branches from a network.

    What can be removed is what leaves the shapes of all values as they are:

    - a convolution whose result has the shape of its input, with the batch norms that follow it
      directly; it becomes the identity;
    - the branch ``f`` of a residual addition ``x + f(x)``, which becomes ``x``.

    The network computes something else afterwards, and has to be trained further.
    ``sensitivity(..., layers=True)`` lists what can be removed and measures what it costs, and
    ``plan_for`` chooses within a budget. Small modules stand in the places of the layers, so that
    the model's own code runs as before, and parameters of other layers keep their names.
    ``merge`` leaves nothing of them.

    Args:
        model: a convolutional network.
        names: the paths of convolutions, and of the blocks whose branches are removed.
        example_input: a tensor, or a tuple of the forward's arguments.
        inplace: if False, the result is a copy; if True, ``model`` itself is changed and returned.

    Returns:
        The model without these layers, in the mode of ``model``.

    Raises:
        ValueError: a name is none of what can be removed, or too much would go: of the
            convolutions of a branch one has to stay, unless the branch goes as a whole.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
        ...                     nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        >>> remove_layers(net, ["2"], torch.randn(1, 3, 16, 16))[2]
        RemovedLayer(convolution)

    Reference:
        Kim et al., "LayerMerge: Neural Network Depth Compression through Layer Pruning and
        Merging", arXiv 2406.12837, remove layers that keep the shape. Branches as a whole, and the
        measured costs by which they are chosen, are ours.
    """
    check_changeable(model, "convert")
    removals = find_removals(copied(model).eval(), example_input)
    chosen = _chosen(removals, names)
    target = model if inplace else copied(model)
    for removal in chosen:
        for path, kind in zip(removal.layers, removal.kinds, strict=True):
            put_removed(target, StandIn(path, kind, path == removal.last))
    return target


class StandIn(NamedTuple):
    """A module in the place of a layer that was removed.

    Attributes:
        path: of the module.
        kind: what the layer was: ``"convolution"``, ``"linear"`` or ``"norm"``.
        is_zero: whether it returns zeros, as the last one of a branch.
    """

    path: str
    kind: str
    is_zero: bool


def removed_in(model: nn.Module) -> tuple[StandIn, ...]:
    """What stands for removed layers in a model."""
    return tuple(
        StandIn(path, module.removed_layer, isinstance(module, RemovedBranch))
        for path, module in model.named_modules()
        if isinstance(module, (RemovedLayer, RemovedBranch))
    )


def put_removed(model: nn.Module, stand_in: StandIn) -> None:
    """Put a module in the place of a layer.

    Raises:
        AttributeError: there is no such layer.
    """
    path, kind, is_zero = stand_in
    parent, _, name = path.rpartition(".")
    module = RemovedBranch(kind) if is_zero else RemovedLayer(kind)
    module.train(model.get_submodule(path).training)
    setattr(model.get_submodule(parent), name, module)


@contextmanager
def removing(model: nn.Module, removal: Removal) -> Iterator[Switch]:
    """Give a model a switch that removes something while it is off; for forwards alone."""
    switch = Switch()

    def hook(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def result(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not switch.off:
                return None
            if removal.last is None:
                return args[0].clone()
            return torch.zeros_like(output) if path == removal.last else None

        return result

    handles = [
        model.get_submodule(path).register_forward_hook(hook(path)) for path in removal.layers
    ]
    try:
        yield switch
    finally:
        for handle in handles:
            handle.remove()


def _chosen(removals: Collection[Removal], names: Collection[str]) -> list[Removal]:
    """The removals of these names, the branches last, as they contain others."""
    known = {each.name: each for each in removals}
    for name in names:
        if name not in known:
            raise ValueError(
                f"names must be layers that can be removed, got {name!r}; they are "
                f"{', '.join(known) or 'none in this model'}"
            )
    for each in removals:
        if each.either and each.name not in names and set(each.either) <= set(names):
            raise ValueError(
                f"names must leave one of {', '.join(each.either)}, got all of them; remove "
                f"{each.name}, the whole branch, instead"
            )
    chosen = [known[name] for name in dict.fromkeys(names)]
    return sorted(chosen, key=lambda each: each.last is not None)
