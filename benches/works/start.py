"""The same start for every system: initial weights and batches from fixed seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import proprelu
import torch
from proprelu._core import Dataset
from torch import Tensor, nn

from works.steps import MOMENTUM, WEIGHT_DECAY, Work


def make_model(work: Work) -> nn.Module:
    """The network, without dropout, whose random draws differ between systems."""
    torch.manual_seed(0)
    if work.model.startswith("torchvision."):
        import torchvision

        name = work.model.removeprefix("torchvision.")
        model: nn.Module = torchvision.models.get_model(name, num_classes=work.classes)
    else:
        model = proprelu.models.create(work.model, ratio=work.ratio, num_classes=work.classes)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Identity())
    return model.train()


def pixels(work: Work, batches: int) -> tuple[np.ndarray, np.ndarray]:
    """Random uint8 images (n, h, w, 3) and labels (n,)."""
    random = np.random.default_rng(0)
    shape = (batches * work.batch, work.size, work.size, work.channels)
    images = random.integers(0, 256, shape, dtype=np.uint8)
    return images, random.integers(0, work.classes, len(images))


def normalization(work: Work) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by channel of the batch of the checked steps, as 0..1."""
    mean_std: tuple[list[float], list[float]] = Dataset.from_u8(*pixels(work, 1)).mean_std()
    return mean_std


def check_batch(work: Work) -> tuple[Tensor, Tensor]:
    """The batch of the checked steps: normalized images (n, 3, h, w) in channels_last, labels."""
    images, labels = pixels(work, 1)
    mean, std = (np.asarray(values, np.float32) for values in normalization(work))
    values = (images / np.float32(255) - mean) / std
    return torch.from_numpy(values).permute(0, 3, 1, 2), torch.from_numpy(labels)


def export(work: Work, folder: Path) -> None:
    """Write the start for the peers without torch; see `systems/jax_step.py` and `burn/`."""
    images, labels = check_batch(work)
    parameters = [p.detach().numpy().ravel() for p in make_model(work).parameters()]
    np.concatenate(parameters).astype("<f4").tofile(folder / "weights.f32")
    images.contiguous().numpy().astype("<f4").tofile(folder / "images.f32")
    every_relu = proprelu.models.create(work.model, num_classes=work.classes)
    settings = {
        "size": work.size,
        "labels": labels.tolist(),
        "keep": list(proprelu.plan_for(every_relu, work.ratio).keep),
        "lr": work.lr,
        "momentum": MOMENTUM,
        "weight_decay": WEIGHT_DECAY,
        "steps": work.checked_steps,
    }
    (folder / "start.json").write_text(json.dumps(settings))
