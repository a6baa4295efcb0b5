"""A trained network, ways to make it faster by dropping activations and merging, and what it costs.

The network is a MobileNetV2 for gray images of 28x28. It is trained at 1:1; each way chooses what
the network loses, and the network trains further while that goes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import proprelu
import torch
from proprelu.convert import remove_layers
from proprelu.data.feeds import train_feed
from torch import Tensor, fx, nn
from torchvision.models import MobileNetV2
from torchvision.ops import Conv2dNormActivation

from works.fashion import fit, splits, trainer_for
from works.recipe import Pretrained, Training
from works.rules import RULES, Choice, Rule, choose

# Expansion, channels, blocks, stride of each stage.
_STAGES = [[1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 2], [6, 64, 3, 2]]
_HEAD, _CLASSES = 256, 10
# Images in the batch for which a network has to be fast.
BATCH = 32
# Added to the seed for the training after the conversion.
_SECOND_SEED = 1000


@dataclass(frozen=True)
class Way:
    """How a network becomes faster.

    Attributes:
        rule: what it loses; None for a ratio.
        budget: the part of the original's latency that it may have.
        ratio: with the placement "last", where there is no rule.
    """

    rule: Rule | None = None
    budget: float = 1.0
    ratio: str = "1:1"

    @property
    def name(self) -> str:
        if self.rule is None:
            return "stays at 1:1" if self.ratio == "1:1" else f"ratio {self.ratio}"
        return f"{self.rule.name}, budget {self.budget:g}"


WAYS = (
    Way(),
    *(Way(rule, budget) for budget in (0.65, 0.5) for rule in RULES),
    Way(RULES[0], 0.8),
    Way(RULES[1], 0.35),
    *(Way(ratio=ratio) for ratio in ("3:2", "2:1", "3:1")),
)


def network(seed: int) -> nn.Module:
    """The network, with weights from a seed."""
    torch.manual_seed(seed)
    model = MobileNetV2(_CLASSES, inverted_residual_setting=_STAGES, dropout=0.0)
    first, last = model.features[0][0], model.features[-1][0]
    model.features[0][0] = nn.Conv2d(1, first.out_channels, 3, 2, 1, bias=False)
    model.features[-1] = Conv2dNormActivation(
        last.in_channels, _HEAD, kernel_size=1, activation_layer=nn.ReLU6
    )
    model.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(_HEAD, _CLASSES))
    return model


def example() -> Tensor:
    """A batch that is timed."""
    return torch.randn(BATCH, 1, 28, 28, generator=torch.Generator().manual_seed(0))


class Trainings:
    """Trains each way; the network that they start from is trained once for each seed."""

    def __init__(self) -> None:
        self._base: dict[int, nn.Module] = {}

    def train(self, way: Way, seed: int, recipe: Pretrained) -> Training:
        start = time.perf_counter()
        data = splits(recipe)
        base = self._trained(seed, recipe)
        choice = _choice(way, base, data[0], seed)
        if choice is None:
            return {"skip": "its rule cannot meet the budget"}
        extra = replace(recipe, epochs=recipe.extra_epochs, lr=recipe.extra_lr)
        dropped = not all(choice.keep)
        anneal = proprelu.Anneal(recipe.anneal * extra.epochs) if dropped else None
        model = shrunk(base, choice, anneal)
        trainer = trainer_for(model.train(), extra, precision="bf16", seed=seed + _SECOND_SEED)
        history = fit(trainer, extra, data)
        merged = proprelu.merge(model.eval(), example())
        return {
            "keep": list(choice.keep),
            "removed": list(choice.removed),
            "macs": merged.report.macs_after,
            "parameters": sum(parameter.numel() for parameter in merged.parameters()),
            "epochs": [{"top1": row["val_top1"]} for row in history],
            "total_seconds": time.perf_counter() - start,
            "torch": torch.__version__,
        }

    def _trained(self, seed: int, recipe: Pretrained) -> nn.Module:
        if seed not in self._base:
            model = network(seed)
            trainer = trainer_for(model, recipe, precision="bf16", seed=seed)
            history = fit(trainer, recipe, splits(recipe))
            print(f"trained at 1:1, seed {seed}: {100 * history[-1]['val_top1']:.2f}%", flush=True)
            self._base = {seed: model.eval()}
        return self._base[seed]


def shrunk(model: nn.Module, choice: Choice, anneal: proprelu.Anneal | None = None) -> nn.Module:
    """A copy of a network without what was chosen."""
    converted = proprelu.convert(model, "1:1", choice.keep, example()[:2], anneal=anneal)
    if not choice.removed:
        return converted
    return remove_layers(converted, choice.removed, example()[:2], inplace=True)


def merged_as(training: Training) -> fx.GraphModule:
    """The merged network of a finished training, with other weights, to be timed."""
    choice = Choice(training["keep"], training["removed"])
    return proprelu.merge(shrunk(network(0).eval(), choice), example())


def _choice(way: Way, base: nn.Module, train: Any, seed: int) -> Choice | None:
    if way.rule is None:
        return Choice(proprelu.plan_for(base, way.ratio).keep)
    return choose(way.rule, base, way.budget, example(), _batch(train), seed)


def _batch(train: Any) -> tuple[Tensor, Tensor]:
    """The training images, normalized, with their labels."""
    feed = train_feed(train, len(train), proprelu.Augment())
    assert isinstance(feed.labels, Tensor)
    return feed.images, feed.labels
