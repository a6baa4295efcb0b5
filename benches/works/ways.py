"""The ways from a network that was trained at 1:1 to one at 2:1."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from typing import Any

import proprelu
import torch
from torch import nn

from works.fashion import fit, make_model, splits, trainer_for
from works.recipe import Pretrained, Training

# Added to the seed for the training after the conversion.
_SECOND_SEED = 1000


@dataclass(frozen=True)
class Way:
    """How a network gets its ratio.

    Attributes:
        ratio: in the extra epochs.
        annealed: step by step instead of at once.
        distilled: with the network at 1:1 as the teacher.
        pretrained: starts from the trained network.
    """

    name: str
    ratio: str = "2:1"
    annealed: bool = False
    distilled: bool = False
    pretrained: bool = True


WAYS = (
    Way("stays at 1:1", ratio="1:1"),
    Way("2:1 at once"),
    Way("2:1 annealed", annealed=True),
    Way("2:1 annealed, distilled", annealed=True, distilled=True),
    Way("2:1 from the start", pretrained=False),
)


class Trainings:
    """Trains each way; the network that they start from is trained once for each seed."""

    def __init__(self) -> None:
        self._base: dict[int, nn.Module] = {}

    def train(self, way: Way, seed: int, recipe: Pretrained) -> Training:
        start = time.perf_counter()
        data = splits(recipe)
        options: dict[str, Any] = {"precision": "bf16", "seed": seed + _SECOND_SEED}
        if way.pretrained:
            base = self._trained(seed, recipe)
            extra = replace(recipe, epochs=recipe.extra_epochs, lr=recipe.extra_lr)
            epochs = recipe.anneal * recipe.extra_epochs
            anneal = proprelu.Anneal(epochs) if way.annealed else None
            model = proprelu.convert(base, way.ratio, anneal=anneal)
            if way.distilled:
                options |= {"teacher": copy.deepcopy(base), "distill": proprelu.Distill()}
        else:
            extra = replace(recipe, epochs=recipe.epochs + recipe.extra_epochs, ratio=way.ratio)
            model = _network(seed, extra)
        trainer = trainer_for(model, extra, **options)
        # What the conversion alone has preserved.
        mean, std = data[0].mean_std()
        measured = proprelu.Augment(mean=mean, std=std)
        before = trainer.evaluate(data[1], normalize=measured)["top1"] if way.pretrained else None
        history = fit(trainer, extra, data)
        return {
            "before": before,
            "epochs": [{"top1": row["val_top1"]} for row in history],
            "total_seconds": time.perf_counter() - start,
            "torch": torch.__version__,
        }

    def _trained(self, seed: int, recipe: Pretrained) -> nn.Module:
        if seed not in self._base:
            model = _network(seed, recipe)
            trainer = trainer_for(model, recipe, precision="bf16", seed=seed)
            history = fit(trainer, recipe, splits(recipe))
            print(f"trained at 1:1, seed {seed}: {100 * history[-1]['val_top1']:.2f}%")
            self._base = {seed: model}
        return self._base[seed]


def _network(seed: int, recipe: Pretrained) -> nn.Module:
    torch.manual_seed(seed)
    return make_model(recipe)
