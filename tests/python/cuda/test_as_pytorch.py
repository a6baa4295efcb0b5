"""A training on a GPU matches a loop in plain PyTorch."""

import copy
from collections.abc import Callable
from typing import Any

import proprelu
import pytest
import torch
from cuda_trainings import (
    CLASSES,
    MakeOptimizer,
    arrays,
    assert_close,
    assert_same,
    batches,
    losses,
    measures,
    network,
    normalized,
    plain,
    small,
    trainer,
)
from proprelu import SGD, AdamW
from proprelu.train.device.device import Device
from torch import Tensor, nn
from torch.nn import functional as F

NESTEROV: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-3}
ADAMW: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.05}


def _groups(parameters: Any) -> torch.optim.Optimizer:
    first, *others = parameters
    groups = [{"params": [first], "lr": 0.2, "momentum": 0.5}, {"params": others}]
    return torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=0.01)


OPTIMIZERS: dict[str, tuple[Callable[[Any], Any], MakeOptimizer]] = {
    "nesterov": (lambda _: SGD(**NESTEROV), lambda p: torch.optim.SGD(p, **NESTEROV)),
    "adamw": (
        lambda _: AdamW(**ADAMW, decay_norm_and_bias=True),
        lambda p: torch.optim.AdamW(p, **ADAMW),
    ),
    "groups": (_groups, _groups),
}


@pytest.mark.parametrize(("name", "clip"), [("nesterov", None), ("adamw", 0.5), ("groups", 0.2)])
def test_twenty_steps(device: Device, name: str, clip: float | None) -> None:
    ours, theirs = OPTIMIZERS[name]
    start, data = small(), arrays()
    settings: dict[str, Any] = {"clip_grad_norm": clip, "ema_decay": 0.8}
    expected = plain(start, theirs, batches(data, 8, epochs=5), **settings)
    results = []
    for place in (device, "cpu"):
        model = copy.deepcopy(start)
        training = trainer(model, place, ours(model.parameters()), **settings)
        training.fit(data, epochs=5, batch_size=8)
        assert losses(training) == pytest.approx(expected.losses, rel=1e-4)
        assert_close(model.state_dict(), expected.model.state_dict())
        assert_close(training.ema_state_dict(), expected.averages)
        results.append((model.state_dict(), losses(training)))
    (here, own), (there, others) = results
    assert own == pytest.approx(others, rel=1e-4)
    assert_close(here, there)
    assert expected.losses[-1] < 0.9 * expected.losses[0]


class Residual(nn.Module):
    """A batch norm with an activation, and one with a residual addition."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.stem(x)).relu()
        x = (x + self.bn2(self.conv(x))).relu()
        y: Tensor = self.fc(x.mean((2, 3)))
        return y


def _residual() -> nn.Module:
    torch.manual_seed(1)
    return Residual()


def _conv(into: int, out: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(into, out, 3, padding=1, **{"bias": False, **options})


def _separable() -> nn.Module:
    depthwise = _conv(5, 5, groups=5)
    layers = [_conv(3, 5), nn.BatchNorm2d(5), nn.ReLU6(), depthwise, nn.BatchNorm2d(5), nn.ReLU6()]
    return network(*layers, nn.Conv2d(5, 7, 1, bias=True), nn.ReLU(), width=7)


# Channels of the images and a network for them, by name.
NETWORKS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "one_channel": (1, lambda: network(_conv(1, 5), nn.BatchNorm2d(5), nn.ReLU(), width=5)),
    "residual": (3, Residual),
    "separable_relu6": (3, _separable),
    "leaky_relu": (
        3,
        lambda: network(
            _conv(3, 4), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.MaxPool2d(2), width=4
        ),
    ),
    "no_affine": (
        3,
        lambda: network(_conv(3, 4), nn.BatchNorm2d(4, affine=False), nn.ReLU(), width=4),
    ),
    "no_running_statistics": (
        3,
        lambda: network(
            _conv(3, 4), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), width=4
        ),
    ),
    "no_norm": (3, lambda: network(_conv(3, 5, bias=True), nn.ReLU(), nn.AvgPool2d(2), width=5)),
    "batch_norm_of_images": (3, lambda: network(nn.BatchNorm2d(3), _conv(3, 4), width=4)),
    "vectors": (
        3,
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(192, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, CLASSES)
        ),
    ),
    "other_norms": (
        3,
        lambda: network(_conv(3, 4), nn.GroupNorm(2, 4), nn.PReLU(), nn.InstanceNorm2d(4), width=4),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(device: Device, name: str) -> None:
    """The networks are trained in batches of 13, and evaluated."""
    channels, make = NETWORKS[name]
    torch.manual_seed(2)
    model, data = make(), arrays(30, channels)
    expected = plain(model, lambda p: torch.optim.SGD(p, lr=0.05), batches(data, 13, epochs=3))
    training = trainer(model, device, SGD(lr=0.05, momentum=0.0, weight_decay=0.0))
    training.fit(data, epochs=3, batch_size=13)
    assert losses(training) == pytest.approx(expected.losses, rel=1e-4)
    assert_close(model.state_dict(), expected.model.state_dict())
    images, labels = (part[:26] for part in data)
    with torch.no_grad():
        parts = normalized(images, data).split(13)
        scores = torch.cat([expected.model.eval()(part) for part in parts])
    loss = F.cross_entropy(scores, torch.from_numpy(labels)).item()
    evaluated = training.evaluate((images, labels), batch_size=13)
    assert evaluated["loss"] == pytest.approx(loss, rel=1e-4)
    assert evaluated["top1"] == (scores.argmax(1).numpy() == labels).mean()


class Partial(nn.Module):
    """One layer is frozen, and the loss does not depend on one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(3, 4, 3).requires_grad_(False)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, CLASSES)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.unreached = nn.Parameter(torch.ones(5))
        self.norm.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(self.norm(self.frozen(x)).relu().mean((2, 3)))
        return y * self.scale


@pytest.mark.parametrize("name", ["nesterov", "adamw"])
def test_frozen_and_unused_parameters_do_not_change(device: Device, name: str) -> None:
    ours, theirs = OPTIMIZERS[name]
    torch.manual_seed(3)
    model, data = Partial(), arrays()
    before = copy.deepcopy(model)
    expected = plain(model, theirs, batches(data, 8, epochs=2), clip_grad_norm=0.5)
    training = trainer(model, device, ours(None), clip_grad_norm=0.5, ema_decay=0.5)
    training.fit(data, epochs=2, batch_size=8)
    assert_close(model.state_dict(), expected.model.state_dict())
    after, averages = model.state_dict(), training.ema_state_dict()
    for key in ("frozen.weight", "frozen.bias", "norm.bias", "unreached"):
        assert torch.equal(after[key].cpu(), before.state_dict()[key]), key
        assert torch.equal(averages[key].cpu(), before.state_dict()[key]), key


class Distance(nn.Module):
    """A loss with a parameter and a buffer."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("weight", torch.linspace(0.5, 1.5, CLASSES))

    def forward(self, predictions: Tensor, labels: Tensor) -> Tensor:
        wanted = F.one_hot(labels, CLASSES)
        return ((self.scale * predictions - wanted) ** 2 * self.weight).mean()


class OfProprelu(nn.Module):
    """The operation with a CUDA kernel, in a loss of the user."""

    def forward(self, predictions: Tensor, labels: Tensor) -> Tensor:
        return proprelu.functional.cross_entropy(predictions, labels, 0.2)


LOSSES: dict[str, Callable[[], nn.Module]] = {
    "own": Distance,
    "own_fused": OfProprelu,
    "torch": lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
    "weighted": lambda: nn.CrossEntropyLoss(weight=torch.linspace(0.5, 1.5, CLASSES)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(device: Device, name: str) -> None:
    """Losses in training and validation."""
    data, results = arrays(), []
    for place in (device, "cpu"):
        model, loss = small(), LOSSES[name]()
        training = trainer(model, place, loss=loss)
        training.fit(data, arrays(11, seed=1), epochs=2, batch_size=8)
        results.append((measures(training), {**model.state_dict(), **loss.state_dict()}))
    (ours, here), (theirs, there) = results
    for own, other in zip(ours, theirs, strict=True):
        assert own == pytest.approx(other, rel=1e-4)
    assert_close(here, there)


def test_low_memory_gives_the_same_bits(device: Device) -> None:
    states = []
    for memory in ("normal", "low", "auto"):
        model = _residual()
        training = trainer(model, device, memory=memory, precision="bf16")
        training.fit(arrays(), epochs=2, batch_size=8)
        states.append(model.state_dict())
        assert ("batch_norm_apply" in (training.program or "")) == (memory == "low")
    normal, *others = states
    for other in others:
        assert_same(other, normal, device)
