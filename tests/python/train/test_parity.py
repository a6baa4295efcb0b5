"""Losses and parameters of a training match plain PyTorch."""

import copy

import proprelu
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

STEPS_PER_EPOCH = 10


def _loader(steps: int, batch_size: int, size: int, seed: int = 0) -> DataLoader:
    generator = torch.Generator().manual_seed(seed)
    count = steps * batch_size
    images = torch.randn(count, 3, size, size, generator=generator)
    # Labels that depend on the images, so that the loss decreases.
    labels = (images.mean((1, 2, 3)) * size * 3 + 5).round().clamp(0, 9).long()
    return DataLoader(TensorDataset(images, labels), batch_size)


def _plain(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader,
    epochs: int,
    bf16: bool = False,
    nchw: bool = False,
) -> list[float]:
    """Train in a plain PyTorch loop with a cosine schedule; returns the mean loss of each epoch."""
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    dtype = next(model.parameters()).dtype
    model.train()
    losses = []
    for _ in range(epochs):
        total = 0.0
        for images, labels in loader:
            if not nchw:
                images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                predictions = model(images.to(dtype))
            loss = F.cross_entropy(predictions.to(dtype), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        losses.append(total / len(loader))
    return losses


def _optimizer(name: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)


def _error(model: nn.Module, plain: nn.Module) -> float:
    """The distance of all parameters and buffers, relative to their norm."""
    ours = torch.cat([t.double().flatten() for t in model.state_dict().values()])
    theirs = torch.cat([t.double().flatten() for t in plain.state_dict().values()])
    return ((ours - theirs).norm() / theirs.norm()).item()


def _compare(model: nn.Module, optimizer: str, lr: float, loader: DataLoader, epochs: int) -> None:
    """Train here, and in PyTorch in float64 and in float32, with NCHW and with NHWC.

    Rounding errors grow from step to step, faster at a higher rate: float32 ends at a distance from
    float64 in PyTorch too. Ours must be below 1e-4, or at most twice PyTorch's.
    """
    peers = [copy.deepcopy(model) for _ in range(3)]
    exact, nchw, nhwc = peers[0].double(), peers[1], peers[2].to(memory_format=torch.channels_last)
    expected, *others = (
        _plain(peer, _optimizer(optimizer, peer, lr), loader, epochs, nchw=peer is not nhwc)
        for peer in (exact, nchw, nhwc)
    )
    trainer = proprelu.Trainer(model, _optimizer(optimizer, model, lr), progress=False)
    losses = [row["train_loss"] for row in trainer.fit(loader, epochs=epochs)]
    assert trainer.program is not None
    assert expected[-1] < expected[0] or epochs == 1
    spread = max(abs(x / y - 1) for other in others for x, y in zip(other, expected, strict=True))
    assert losses == pytest.approx(expected, rel=max(1e-4, 2 * spread))
    assert _error(model, exact) < max(1e-4, 2 * _error(nchw, exact), 2 * _error(nhwc, exact))


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1e-4), ("sgd", 0.02), ("adamw", 1e-5)])
@pytest.mark.parametrize("ratio", ["1:1", "2:1"])
def test_fifty_steps_of_resnet20(ratio: str, optimizer: str, lr: float) -> None:
    torch.manual_seed(1)
    model = proprelu.convert(proprelu.models.create("resnet20"), ratio)
    loader = _loader(STEPS_PER_EPOCH, batch_size=16, size=16)
    _compare(model, optimizer, lr, loader, epochs=5)


def _torchvision(name: str) -> nn.Module:
    # Dropout is off, because it draws other random numbers than PyTorch's.
    options = {"dropout": 0.0} if name in ("vgg11_bn", "mobilenet_v2") else {}
    return torchvision.models.get_model(name, num_classes=10, **options)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        pytest.param("vgg11_bn", marks=pytest.mark.slow),
        pytest.param("densenet121", marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", marks=pytest.mark.slow),
    ],
)
def test_five_steps_of_torchvision(name: str) -> None:
    torch.manual_seed(2)
    model = _torchvision(name)
    loader = _loader(5, batch_size=8, size=64)
    _compare(model, "sgd", 1e-3, loader, epochs=1)


def test_bf16_loss_matches_autocast() -> None:
    torch.manual_seed(3)
    model = proprelu.convert(proprelu.models.create("resnet20"), "2:1")
    loader = _loader(STEPS_PER_EPOCH, batch_size=32, size=16)
    plain = copy.deepcopy(model).to(memory_format=torch.channels_last)
    expected = _plain(plain, _optimizer("sgd", plain, 5e-3), loader, epochs=5, bf16=True)
    optimizer = _optimizer("sgd", model, 5e-3)
    trainer = proprelu.Trainer(model, optimizer, precision="bf16", progress=False)
    losses = [row["train_loss"] for row in trainer.fit(loader, epochs=5)]
    assert losses == pytest.approx(expected, rel=0.02)
