"""The same start for every system: a network's weights and one batch, from fixed seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import proprelu
import torch
from torch import Tensor, nn

from side_by_side.works import (
    CHECKED_STEPS,
    MOMENTUM,
    WEIGHT_DECAY,
    Work,
)


def make_model(work: Work) -> nn.Module:
    """The network, without dropout, whose draws differ from system to system."""
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
    shape = (batches * work.batch, work.size, work.size, 3)
    images = random.integers(0, 256, shape, dtype=np.uint8)
    return images, random.integers(0, work.classes, len(images))


def check_batch(work: Work) -> tuple[Tensor, Tensor]:
    """The batch of the checked steps, (n, 3, h, w) as our loader normalizes it, and labels."""
    images, labels = pixels(work, 1)
    mean, std = (np.float32(values) for values in proprelu.as_dataset(images, labels).mean_std())
    values = (images / np.float32(255) - mean) / std
    return torch.from_numpy(values).permute(0, 3, 1, 2), torch.from_numpy(labels)


def export(work: Work, folder: Path) -> None:
    """Write the start for the peers that have no torch; see jax_child.py and benches/burn."""
    model = make_model(work)
    images, labels = check_batch(work)
    parameters = [p.detach().numpy().ravel() for p in model.parameters()]
    np.concatenate(parameters).astype("<f4").tofile(folder / "weights.f32")
    images.contiguous().numpy().astype("<f4").tofile(folder / "images.f32")
    settings = {
        "size": work.size,
        "labels": labels.tolist(),
        "keep": list(proprelu.plan_for(proprelu_1to1(work), work.ratio).keep),
        "lr": work.lr,
        "momentum": MOMENTUM,
        "weight_decay": WEIGHT_DECAY,
        "steps": CHECKED_STEPS,
    }
    (folder / "start.json").write_text(json.dumps(settings))


def proprelu_1to1(work: Work) -> nn.Module:
    """The network with all of its ReLUs, whose plan says which ones the ratio keeps."""
    return proprelu.models.create(work.model, num_classes=work.classes)
