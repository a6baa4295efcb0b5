"""The methods beside the ratio: a network for each, and its training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import proprelu
import torch
from proprelu.convert import covariance_head, tie_blocks
from proprelu.nn import TiedSqueezeExcite
from torch import nn

from works.fashion import fit, splits, trainer_for
from works.recipe import Recipe, Training


@dataclass(frozen=True)
class Method:
    """A network, and how it is trained.

    Attributes:
        make: builds it, for gray images of 28x28.
        lr: peak of the learning rate; found with short trainings for each kind of network, not
            searched.
        adamw: train with AdamW instead of SGD.
    """

    name: str
    make: Callable[[], nn.Module]
    lr: float
    adamw: bool = False

    def optimizer(self, recipe: Recipe) -> proprelu.SGD | proprelu.AdamW:
        if self.adamw:
            return proprelu.AdamW(self.lr, weight_decay=0.05)
        return proprelu.SGD(self.lr, recipe.momentum, weight_decay=recipe.weight_decay)


def _resnet() -> nn.Module:
    return proprelu.models.create("resnet20", ratio="2:1", in_channels=1)


def _with_squeeze_excite() -> nn.Module:
    """One after the last norm of each residual block, before the shortcut is added."""
    model = _resnet()
    for block in model.modules():
        norm = getattr(block, "bn2", None)
        if isinstance(norm, nn.BatchNorm2d):
            gate = TiedSqueezeExcite(norm.num_features, num_blocks=8)
            block.register_module("bn2", nn.Sequential(norm, gate))
    return model


def _mgnet() -> nn.Module:
    return proprelu.models.create("mgnet", channels=32, in_channels=1)


def _vit(stem: str) -> Callable[[], nn.Module]:
    return lambda: proprelu.models.create("vit", in_channels=1, stem=stem, embed_dim=64, depth=4)


MEASURED = (
    Method("ResNet-20 2:1", _resnet, 0.2),
    Method("tied blocks, B = 2", lambda: tie_blocks(_resnet(), 2), 0.2),
    Method("tied squeeze-excite, B = 8", _with_squeeze_excite, 0.2),
    Method("covariance pooling, d = 64", lambda: covariance_head(_resnet(), 10, dim=64), 0.1),
    Method("MgNet, 32 channels", _mgnet, 0.1),
    Method("ViT of 64 features, patches", _vit("patch"), 2e-3, adamw=True),
    Method("ViT of 64 features, conv stem", _vit("scaled_relu"), 2e-3, adamw=True),
)


def train(method: Method, seed: int, recipe: Recipe) -> Training:
    """One training with `Trainer`, in bf16."""
    start = time.perf_counter()
    data = splits(recipe)
    torch.manual_seed(seed)
    model = method.make()
    trainer = trainer_for(model, recipe, method.optimizer(recipe), precision="bf16", seed=seed)
    history = fit(trainer, recipe, data)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": [
            {"top1": row["val_top1"], "images_per_s": row["images_per_s"]} for row in history
        ],
        "total_seconds": time.perf_counter() - start,
        "torch": torch.__version__,
    }
