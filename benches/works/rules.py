"""Rules that decide what a network loses, to meet a budget of latency once it is merged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import proprelu
import torch
from proprelu.convert import Plan, Ranking
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Mask = list[bool]
# What every rule may look at: the trained network, training images with labels, and a seed.
Masks = Callable[[nn.Module, Tensor, Tensor, int], Iterator[Mask]]

_BATCH = 128
_CALIBRATION = 512


class Choice(NamedTuple):
    """What a network loses.

    Attributes:
        keep: for each activation, whether it is kept.
        removed: the names of layers and branches that are removed.
    """

    keep: Mask
    removed: Sequence[str] = ()


@dataclass(frozen=True)
class Rule:
    """What goes first.

    Attributes:
        masks: which activations are kept, from one that keeps all to one that keeps few; the first
            one within the budget is taken. None to plan with the budget, by `plan_for`.
        layers: whether that plan may remove layers.
    """

    name: str
    masks: Masks | None = None
    layers: bool = False


def _last_in_blocks(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Iterator[Mask]:
    """EraseReLU: the last activation of each residual block first."""
    count = len(proprelu.plan_for(model, "1:1").sites)
    for kept in range(count, 0, -1):
        yield proprelu.plan_for(model, f"{count}:{kept}", "block_last").keep


def _learned(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Iterator[Mask]:
    """DepthShrinker: blocks in the order of a mask that is trained with the weights."""
    torch.manual_seed(seed)
    loader = DataLoader(TensorDataset(images, labels), _BATCH, shuffle=True, drop_last=True)
    # The ratio is that of a network with half of its blocks.
    _, ranking = proprelu.learn_placement(model.train(), "2:1", loader, progress=False)
    model.eval()
    costs = dict(zip(ranking.sites, ranking.costs, strict=True))
    yield from _by_block(model, lambda sites: sum(costs[site] for site in sites) / len(sites))


def _magnitude(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Iterator[Mask]:
    """Blocks in the order of the magnitude of their weights, with norms folded in."""

    def size(sites: list[str]) -> float:
        block = model.get_submodule(_block_of(model)[sites[0]])
        norms = [each for each in block.modules() if isinstance(each, nn.BatchNorm2d)]
        convs = [each for each in block.modules() if isinstance(each, nn.Conv2d)]
        means = [
            float((conv.weight.flatten(1).abs().mean(1) * norm.weight / _deviation(norm)).mean())
            for conv, norm in zip(convs, norms, strict=True)
        ]
        return sum(means) / len(means)

    with torch.no_grad():
        yield from _by_block(model, size)


def _random(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Iterator[Mask]:
    """Blocks in a random order."""
    draw = random.Random(seed)
    yield from _by_block(model, lambda _: draw.random())


RULES = (
    Rule("ours"),
    Rule("ours, with layers removed", layers=True),
    Rule("last in each block (EraseReLU)", _last_in_blocks),
    Rule("learned mask of blocks (DepthShrinker)", _learned),
    Rule("magnitude of blocks", _magnitude),
    Rule("random blocks", _random),
)


def choose(
    rule: Rule,
    model: nn.Module,
    budget: float,
    example: Tensor,
    data: tuple[Tensor, Tensor],
    seed: int,
) -> Choice | None:
    """What a network loses; None if a rule never meets the budget.

    Args:
        rule: the rule.
        model: the trained network, in evaluation mode.
        budget: the part of the original's latency that the merged network may have.
        example: a batch that is timed, (N, C, H, W).
        data: normalized training images and their labels.
        seed: of what is random in a rule.
    """
    if rule.masks is None:
        part = data[0][:_CALIBRATION], data[1][:_CALIBRATION]
        ranking = proprelu.sensitivity(model, part, layers=rule.layers, progress=False)
        plan = _within(model, ranking, budget, example)
        return None if plan is None else Choice(plan.keep, plan.removed)
    masks = list(rule.masks(model, *data, seed))
    first, end = 0, len(masks)
    while first < end:  # the first mask that is within the budget
        middle = (first + end) // 2
        if _meets(model, masks[middle], budget, example):
            end = middle
        else:
            first = middle + 1
    return Choice(masks[first]) if first < len(masks) else None


def _meets(model: nn.Module, mask: Mask, budget: float, example: Tensor) -> bool:
    """Whether the network is within the budget without what the mask drops."""
    names = tuple(site.name for site in proprelu.plan_for(model, "1:1").sites)
    ranking = Ranking("mask", names, tuple(float(keep) for keep in mask), "activations")
    plan = _within(model, ranking, budget, example)
    if plan is None:
        return False
    return all(now or not keep for now, keep in zip(plan.keep, mask, strict=True))


def _within(model: nn.Module, ranking: Ranking, budget: float, example: Tensor) -> Plan | None:
    """The plan within a budget, if there is one."""
    options = {"objective": "latency", "budget": budget}
    try:
        return proprelu.plan_for(model, f"{len(ranking.sites)}:1", ranking, example, **options)
    except ValueError as error:
        if not str(error).startswith("budget"):
            raise
        return None


def _by_block(model: nn.Module, cost: Callable[[list[str]], float]) -> Iterator[Mask]:
    """Masks that drop whole blocks, the cheapest first; activations between blocks are kept."""
    sites = proprelu.plan_for(model, "1:1").sites
    blocks: dict[str, list[str]] = {}
    for name, block in _block_of(model).items():
        blocks.setdefault(block, []).append(name)
    dropped: set[str] = set()
    yield [True] * len(sites)
    for inside in sorted(blocks.values(), key=cost):
        dropped.update(inside)
        yield [site.name not in dropped for site in sites]


def _block_of(model: nn.Module) -> dict[str, str]:
    """The path of the block in which an activation is, for those in blocks."""
    sites = proprelu.plan_for(model, "1:1").sites
    return {site.name: site.name.split(".conv.")[0] for site in sites if ".conv." in site.name}


def _deviation(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return (norm.running_var + norm.eps).sqrt()
