"""Replaces the convolutions of a network by tied block convolutions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.convert.replacing import has_hooks, put
from proprelu.graph import check_has_values, copied
from proprelu.graph.mode import untouched_random
from proprelu.nn import TiedBlockConv2d, TiedLinear

Initializer = Callable[[Tensor, Tensor], Tensor]


@untouched_random()  # new layers begin with random weights
def tie_blocks(
    model: nn.Module,
    num_blocks: int = 2,
    init: str = "mean",
    *,
    skip: Collection[str] = (),
    inplace: bool = False,
) -> nn.Module:
    """Replace a network's convolutions by tied ones that are initialized from their weights.

    Every ``nn.Conv2d`` with channels that ``num_blocks`` divides becomes a
    ``proprelu.nn.TiedBlockConv2d``. If it is grouped, ``num_blocks`` must divide the number of
    groups, and each block gets an equal share of them. The 1x1 convolutions inside
    squeeze-and-excitation modules are replaced too, and linear layers inside them become
    ``proprelu.nn.TiedLinear``. Depthwise convolutions, and convolutions with a padding other than
    zeros, stay unchanged.

    A tied convolution computes something else than the convolution that it replaces, so the network
    has to be trained or fine-tuned afterwards. The shapes in the ``state_dict`` change, its keys do
    not. The tied parameters are new ones: create the optimizer from the result.

    Args:
        model: a network; it is not changed, unless ``inplace``.
        num_blocks: B, at least 2.
        init: how the shared weight is computed from the original weight, seen as B x B blocks.
            ``"mean"`` averages the blocks on the diagonal, which gives the nearest tied weight in
            the sense of least squares. ``"slice"`` takes the first block of the diagonal. ``"svd"``
            takes the first right singular vector of all blocks, scaled to fit the diagonal best.
        skip: patterns of paths of layers that stay unchanged, as in a shell: ``"layer1.*"``.
        inplace: replace the layers in ``model`` itself, and return it.

    Returns:
        The network with tied layers; its other layers are those of the model, or copies of them.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: the model is wrapped, a setting is out of range, or no layer can be tied.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> [layer.weight.shape[:2] for layer in tie_blocks(net, 2)[::2]]
        [torch.Size([4, 2]), torch.Size([4, 4])]

    Reference:
        Wang and Yu, "Tied Block Convolution", arXiv 2009.12021; the initialization from a network's
        weights is ours.
    """
    check_has_values(model, "convert")
    if num_blocks < 2:
        raise ValueError(f"num_blocks must be 2 or more, got {num_blocks}")
    if init not in _INITIALIZERS:
        raise ValueError(f"init must be {', '.join(map(repr, _INITIALIZERS))}, got {init!r}")
    skip = [skip] if isinstance(skip, str) else list(skip)
    if not any(True for _ in _layers(model, num_blocks, skip)):
        raise ValueError(
            f"model must have convolutions with channels divisible by num_blocks {num_blocks}, got "
            f"{type(model).__name__} with none; use fewer blocks, or skip fewer layers"
        )
    result = model if inplace else copied(model)
    for path, layer in list(_layers(result, num_blocks, skip)):
        put(result, path, _tied(layer, num_blocks, _INITIALIZERS[init]))
    return result


def _layers(
    model: nn.Module, num_blocks: int, skip: Collection[str]
) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    """The layers that can be tied, with their paths."""
    gates = [path for path, module in model.named_modules() if _is_gate(module)]
    for path, module in model.named_modules():
        if not path or any(fnmatchcase(path, pattern) for pattern in skip) or has_hooks(module):
            continue
        if type(module) is nn.Conv2d and _divides(module, num_blocks):
            yield path, module
        elif type(module) is nn.Linear and any(path.startswith(f"{gate}.") for gate in gates):
            features = (module.in_features, module.out_features)
            if all(count % num_blocks == 0 for count in features):
                yield path, module


def _is_gate(module: nn.Module) -> bool:
    """Whether a module is a squeeze-and-excitation, by its class names in torchvision and timm."""
    name = type(module).__name__
    return name.startswith(("SE", "SqueezeExcit")) and any(True for _ in module.children())


def _divides(conv: nn.Conv2d, num_blocks: int) -> bool:
    """Whether the channels, or the groups of a grouped convolution, divide into equal blocks."""
    if conv.padding_mode != "zeros" or conv.groups == conv.in_channels > 1:
        return False
    counts = (conv.groups,) if conv.groups > 1 else (conv.in_channels, conv.out_channels)
    return all(count % num_blocks == 0 for count in counts)


def _tied(layer: nn.Conv2d | nn.Linear, num_blocks: int, initialize: Initializer) -> nn.Module:
    weight, bias = layer.weight, layer.bias
    options: dict[str, Any] = {"bias": bias is not None, "num_blocks": num_blocks}
    options |= {"device": weight.device, "dtype": weight.dtype}
    tied: TiedBlockConv2d | TiedLinear
    if isinstance(layer, nn.Linear):
        groups = 1
        tied = TiedLinear(layer.in_features, layer.out_features, **options)
    else:
        groups = layer.groups
        options |= {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        options["groups"] = max(1, groups // num_blocks)
        size: Any = layer.kernel_size
        tied = TiedBlockConv2d(layer.in_channels, layer.out_channels, size, **options)
    with torch.no_grad():
        tied.weight.copy_(initialize(*_blocks(weight.detach(), num_blocks, groups)))
        tied.weight.requires_grad_(weight.requires_grad)
        if tied.bias is not None and bias is not None:
            tied.bias.copy_(bias.reshape(num_blocks, -1).mean(0))
            tied.bias.requires_grad_(bias.requires_grad)
    return tied.train(layer.training)


def _blocks(weight: Tensor, num_blocks: int, groups: int) -> tuple[Tensor, Tensor]:
    """The blocks on the diagonal, and all blocks; a grouped weight has only diagonal blocks."""
    outputs, inputs, *kernel = weight.shape
    if groups > 1:
        blocks = weight.reshape(num_blocks, outputs // num_blocks, inputs, *kernel)
        return blocks, blocks
    shape = (num_blocks, outputs // num_blocks, num_blocks, inputs // num_blocks, *kernel)
    blocks = weight.reshape(shape).transpose(1, 2)
    diagonal = range(num_blocks)
    return blocks[diagonal, diagonal], blocks.flatten(0, 1)


def _mean(diagonal: Tensor, _: Tensor) -> Tensor:
    return diagonal.mean(0)


def _slice(diagonal: Tensor, _: Tensor) -> Tensor:
    return diagonal[0]


def _svd(diagonal: Tensor, blocks: Tensor) -> Tensor:
    """The first right singular vector of all blocks, scaled to fit the diagonal best."""
    _, _, directions = torch.linalg.svd(blocks.flatten(1).double(), full_matrices=False)
    size = (diagonal.flatten(1).double() @ directions[0]).mean()
    fitted: Tensor = size * directions[0]
    return fitted.reshape(diagonal.shape[1:])


_INITIALIZERS: dict[str, Initializer] = {"mean": _mean, "slice": _slice, "svd": _svd}
