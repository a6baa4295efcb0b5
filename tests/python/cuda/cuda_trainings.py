"""Small data and networks, and their training in plain PyTorch for comparison."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from proprelu import SGD, Augment, Trainer, as_dataset
from proprelu._core import Dataset, Loader
from proprelu.train.device.device import Device
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 4

Arrays = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
Batch = tuple[Tensor, Tensor]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def arrays(count: int = 32, channels: int = 3, seed: int = 0) -> Arrays:
    """uint8 images of 8x8 pixels; images with a higher label are brighter."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    noise = generator.integers(0, 100, (count, 8, 8, channels))
    return (noise + 48 * labels[:, None, None, None]).astype(np.uint8), labels


def tensors(count: int = 32, seed: int = 0) -> Batch:
    """The same images as floats, (N, C, H, W)."""
    images, labels = arrays(count, seed=seed)
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 64 - 2, torch.from_numpy(labels)


def stream(images: Tensor, labels: Tensor, size: int = 8) -> DataLoader[Any]:
    """A loader that yields images batch by batch."""
    return DataLoader(TensorDataset(images, labels), size)


def network(*layers: nn.Module, width: int) -> nn.Sequential:
    """The layers, with ``width`` output channels, and a classifier after global pooling."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def small(seed: int = 0) -> nn.Sequential:
    """A network with one convolution and a batch norm."""
    torch.manual_seed(seed)
    return network(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), width=6)


def trainer(
    model: nn.Module, device: Device | str, optimizer: Any = None, **settings: Any
) -> Trainer:
    """A trainer without a progress bar."""
    optimizer = optimizer or SGD(lr=0.05, nesterov=True)
    return Trainer(model, optimizer, device=device, progress=False, **settings)


def losses(training: Trainer) -> list[Any]:
    """The training losses of all epochs."""
    return [row["train_loss"] for row in training.history]


def steps(model: nn.Module) -> int:
    """The number of training steps of a network of ``small``."""
    return int(model.state_dict()["1.num_batches_tracked"])


def measures(training: Trainer) -> list[dict[str, float]]:
    """The rows of the history, without times and missing values."""
    left = ("seconds", "images_per_s")
    rows = [{k: v for k, v in row.items() if k not in left} for row in training.history]
    return [{k: v for k, v in row.items() if v is not None} for row in rows]


def batches(data: Any, size: int, epochs: int, seed: int = 0) -> list[list[Batch]]:
    """The batches of each epoch that a trainer with this seed reads from images in memory."""
    dataset = as_dataset(data)
    assert isinstance(dataset, Dataset)
    augment = Augment().fitted(dataset).to_dict()
    loader = Loader(dataset, size, shuffle=True, drop_last=True, seed=seed, augment=augment)
    return [
        [
            (torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))
            for images, labels in loader.epoch(epoch)
        ]
        for epoch in range(epochs)
    ]


def normalized(images: npt.NDArray[Any], data: Arrays) -> Tensor:
    """uint8 images, normalized like the training data, (N, C, H, W)."""
    dataset = as_dataset(data)
    assert isinstance(dataset, Dataset)
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in dataset.mean_std())
    return ((torch.from_numpy(images) / 255.0 - mean) / std).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Plain:
    """The result of a training in plain PyTorch: losses of the epochs, weights and averages."""

    losses: list[float]
    model: nn.Module
    averages: dict[str, Tensor]


def plain(
    model: nn.Module,
    optimizer: MakeOptimizer,
    epochs: list[list[Batch]],
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    clip_grad_norm: float | None = None,
    ema_decay: float = 0.0,
) -> Plain:
    """Train a copy in float64, with a cosine schedule, step by step."""
    model = copy.deepcopy(model).double().train()
    updates = optimizer(model.parameters())
    total = sum(map(len, epochs))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        updates, lambda step: (1 + math.cos(math.pi * step / total)) / 2
    )
    averages = {name: p.detach().clone() for name, p in model.named_parameters()}
    means, number = [], 0
    for epoch in epochs:
        values = []
        for images, labels in epoch:
            updates.zero_grad()
            value = loss(model(images.double()), labels)
            value.backward()
            if clip_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_grad_norm)
            updates.step()
            schedule.step()
            values.append(value.item())
            number += 1
            decay = min(ema_decay, (1 + number) / (10 + number))
            for name, p in model.named_parameters():
                averages[name].lerp_(p.detach(), 1 - decay)
        means.append(sum(values) / len(values))
    return Plain(means, model, averages)


def assert_close(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], tolerance: float = 1e-4
) -> None:
    """Assert that tensors differ by less than this fraction of their norm."""
    for name, expected in theirs.items():
        own, other = ours[name].cpu().double(), expected.cpu().double()
        assert (own - other).norm() <= tolerance * other.norm() + 1e-6, name


def assert_same(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], device: Device | str
) -> None:
    """Assert that tensors are equal, or close on a GPU, which may sum in another order."""
    if not isinstance(device, str) and device.device.type == "cuda":
        assert_close(ours, theirs, 1e-3)
        return
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert torch.equal(ours[name], expected), name
