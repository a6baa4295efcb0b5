"""Moves padding to the first convolution of each chain."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

from torch import nn

from proprelu.graph import check_has_values, copied
from proprelu.merge.chains import Chain, find_chains
from proprelu.merge.evaluation import evaluation_graph
from proprelu.merge.layers import Layer


def hoist_padding(model: nn.Module, example_input: object, *, inplace: bool = False) -> nn.Module:
    """Have the first convolution of each linear chain do the padding of all.

    ``merge`` needs corrections where a convolution in a chain has padding, which cost time. With
    the padding of the whole chain at its first convolution there is nothing to correct. The shapes
    stay the same, but the values near the border change slightly: the later convolutions read what
    the first one makes of the padding instead of zeros. So hoist before fine-tuning, and measure
    the accuracy.

    Args:
        model: a network whose activations are dropped already, such as the result of ``convert``,
            in any mode.
        example_input: see ``merge``.
        inplace: change ``model`` itself, and return it.

    Returns:
        The model with the other paddings; its weights and ``state_dict`` keys are the same.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: the model is wrapped or cannot be traced, or has no such chain.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        >>> [conv.padding for conv in hoist_padding(net, torch.randn(1, 3, 16, 16))]
        [(2, 2), (0, 0)]
    """
    check_has_values(model, "merge")
    result = model if inplace else copied(model)
    paddings = _paddings(model, example_input)
    if not paddings:
        raise ValueError(
            "model must have a padded convolution after another one without an activation between, "
            f"got {type(model).__name__} with none; convert it first"
        )
    for path, padding in paddings.items():
        conv = result.get_submodule(path)
        assert isinstance(conv, nn.Conv2d)
        conv.padding = padding
        conv._reversed_padding_repeated_twice = [p for p in reversed(padding) for _ in (0, 1)]
    return result


def _paddings(model: nn.Module, example_input: object) -> dict[str, tuple[int, int]]:
    """The new paddings by the paths of the convolutions."""
    # Chains are those of evaluation mode. A copy, since modes may be set by code of the model's.
    net = evaluation_graph(copy.deepcopy(model).eval(), example_input)
    uses = Counter(str(n.target) for n in net.graph.nodes if n.op == "call_module")
    found: dict[str, tuple[int, int]] = {}
    for chain in find_chains(net).chains:
        for convs in _rows(chain):
            if all(uses[conv.name] == 1 for conv in convs):
                found |= _hoisted(convs)
    return found


def _rows(chain: Chain) -> Iterator[list[Layer]]:
    """The convolutions that follow each other directly; a sum is a boundary."""
    row: list[Layer] = []
    for step in chain.steps:
        if isinstance(step, Layer):
            row += [] if step.is_norm else [step]
            continue
        yield row
        row = []
        for branch in step.branches:
            yield from _rows(branch)
    yield row


def _hoisted(convs: list[Layer]) -> dict[str, tuple[int, int]]:
    if not any(any(conv.geometry.padding) for conv in convs[1:]):
        return {}
    total = convs[0].geometry
    for conv in convs[1:]:
        total = total.then(conv.geometry)
    return {convs[0].name: total.padding, **{conv.name: (0, 0) for conv in convs[1:]}}
