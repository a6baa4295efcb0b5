"""Tying the blocks of a network's convolutions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.nn import TiedBlockConv2d, TiedLinear

Start = Callable[[Tensor, Tensor], Tensor]


def tie_blocks(
    model: nn.Module,
    num_blocks: int = 2,
    init: str = "mean",
    *,
    skip: Collection[str] = (),
    inplace: bool = False,
) -> nn.Module:
    """Replace a network's convolutions by tied ones, that start from its weights.

    Every ``nn.Conv2d`` whose blocks come out even becomes a :class:`proprelu.nn.TiedBlockConv2d`;
    of a grouped one each block gets its share of the groups. So do the 1x1 convolutions inside
    squeeze-and-excitation modules, and their linear layers become :class:`proprelu.nn.TiedLinear`:
    a tied squeeze-and-excitation. What is not tied stays as it is: depthwise convolutions, those
    whose channels (the images' three, say) or groups ``num_blocks`` does not divide, and those with
    another padding than zeros.

    A tied convolution is not the convolution it stands for: train on, or train anew. Shapes in the
    ``state_dict`` change, its keys do not. Parameters that were tied are new ones: make the
    optimizer from the result.

    Args:
        model: a network; it is not touched, unless ``inplace``.
        num_blocks: B, 2 or more.
        init: where the shared weight starts, of a weight seen as B x B blocks: ``"mean"`` of those
            on the diagonal (the tied weight that is nearest to it, in the least squares);
            ``"slice"``, the first of the diagonal; or ``"svd"``, the direction that all blocks
            have most in common (the first right singular vector), in the size that fits the
            diagonal best; the last is ours.
        skip: patterns of layers' paths that stay as they are, as in a shell: ``"layer1.*"``.
        inplace: replace the layers in ``model`` itself, and return it.

    Returns:
        The network with tied layers; others are the model's own or their copies.

    Raises:
        ValueError: settings out of range, or nothing that could be tied.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> [layer.weight.shape[:2] for layer in tie_blocks(net, 2)[::2]]
        [torch.Size([4, 2]), torch.Size([4, 4])]

    Reference:
        Wang and Yu, "Tied Block Convolution", arXiv 2009.12021; starting from a network's weights
        is ours.
    """
    if num_blocks < 2:
        raise ValueError(f"num_blocks must be 2 or more, got {num_blocks}")
    if init not in _STARTS:
        raise ValueError(f"init must be {', '.join(map(repr, _STARTS))}, got {init!r}")
    skip = [skip] if isinstance(skip, str) else list(skip)
    if not any(True for _ in _layers(model, num_blocks, skip)):
        raise ValueError(
            f"model must have convolutions whose channels {num_blocks} blocks divide, got "
            f"{type(model).__name__} with none; take fewer blocks, or skip less"
        )
    result = model if inplace else deepcopy(model)
    for path, layer in list(_layers(result, num_blocks, skip)):
        parent, _, name = path.rpartition(".")
        setattr(result.get_submodule(parent), name, _tied(layer, num_blocks, _STARTS[init]))
    return result


def _layers(
    model: nn.Module, num_blocks: int, skip: Collection[str]
) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    """The layers that can be tied, with their paths."""
    gates = [path for path, module in model.named_modules() if _is_gate(module)]
    for path, module in model.named_modules():
        if not path or any(fnmatchcase(path, pattern) for pattern in skip):
            continue
        if type(module) is nn.Conv2d and _divides(module, num_blocks):
            yield path, module
        elif type(module) is nn.Linear and any(path.startswith(f"{gate}.") for gate in gates):
            features = (module.in_features, module.out_features)
            if all(count % num_blocks == 0 for count in features):
                yield path, module


def _is_gate(module: nn.Module) -> bool:
    """A squeeze-and-excitation, by the names that torchvision and timm have for it."""
    name = type(module).__name__
    return name.startswith(("SE", "SqueezeExcit")) and any(True for _ in module.children())


def _divides(conv: nn.Conv2d, num_blocks: int) -> bool:
    """Whether blocks come out even; with groups, each block has its share of them."""
    if conv.padding_mode != "zeros" or conv.groups == conv.in_channels > 1:
        return False
    counts = (conv.groups,) if conv.groups > 1 else (conv.in_channels, conv.out_channels)
    return all(count % num_blocks == 0 for count in counts)


def _tied(layer: nn.Conv2d | nn.Linear, num_blocks: int, start: Start) -> nn.Module:
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
        tied.weight.copy_(start(*_blocks(weight.detach(), num_blocks, groups)))
        tied.weight.requires_grad_(weight.requires_grad)
        if tied.bias is not None and bias is not None:
            tied.bias.copy_(bias.reshape(num_blocks, -1).mean(0))
            tied.bias.requires_grad_(bias.requires_grad)
    return tied.train(layer.training)


def _blocks(weight: Tensor, num_blocks: int, groups: int) -> tuple[Tensor, Tensor]:
    """Those on the diagonal, and all; with groups no block sees another and there are no others."""
    outputs, inputs, *kernel = weight.shape
    if groups > 1:
        of_blocks = weight.reshape(num_blocks, outputs // num_blocks, inputs, *kernel)
        return of_blocks, of_blocks
    shape = (num_blocks, outputs // num_blocks, num_blocks, inputs // num_blocks, *kernel)
    blocks = weight.reshape(shape).transpose(1, 2)
    every = range(num_blocks)
    return blocks[every, every], blocks.flatten(0, 1)


def _mean(diagonal: Tensor, _: Tensor) -> Tensor:
    return diagonal.mean(0)


def _slice(diagonal: Tensor, _: Tensor) -> Tensor:
    return diagonal[0]


def _svd(diagonal: Tensor, blocks: Tensor) -> Tensor:
    """The first right singular vector of all blocks, in the size that fits the diagonal best."""
    _, _, directions = torch.linalg.svd(blocks.flatten(1).double(), full_matrices=False)
    size = (diagonal.flatten(1).double() @ directions[0]).mean()
    fitted: Tensor = size * directions[0]
    return fitted.reshape(diagonal.shape[1:])


_STARTS: dict[str, Start] = {"mean": _mean, "slice": _slice, "svd": _svd}
