"""What a logger changes in the model during ``fit`` counts from the next step on."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from proprelu import SGD, Trainer
from proprelu.train import Logger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

IMAGES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 5
FACTOR = 1.0


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.fc = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 5)
        self.scale = 1.0

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3))) * self.scale * FACTOR


Change = Callable[[Net], Any]


class Changing(Logger):
    """Changes the model at the start, after the first step, or after the first epoch."""

    def __init__(self, net: Net, **changes: Change) -> None:
        self.net, self.changes = net, changes

    def _change(self, when: str) -> None:
        self.changes.pop(when, lambda net: None)(self.net)

    def on_fit_start(self, epochs: int, steps_per_epoch: int) -> None:
        self._change("start")

    def on_step(self, event: Any) -> None:
        self._change("step")

    def on_epoch(self, row: Any) -> None:
        self._change("epoch")


def _fit(net: Net, **changes: Change) -> Trainer:
    settings = SGD(lr=0.1, momentum=0.9, weight_decay=0.1, decay_norm_and_bias=True)
    loggers = [Changing(net, **changes)]
    trainer = Trainer(net, settings, schedule="constant", loggers=loggers, progress=False)
    trainer.fit(DataLoader(TensorDataset(IMAGES, LABELS), 8), epochs=3)
    return trainer


def _plain(net: Net, **changes: Change) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    logger = Changing(net, **changes)
    logger.on_fit_start(3, 2)
    for _ in range(3):
        for images, labels in zip(IMAGES.split(8), LABELS.split(8), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            logger.on_step({})
        logger.on_epoch({})


def _factor(value: float) -> None:
    global FACTOR
    FACTOR = value


CHANGES: dict[str, Change] = {
    "freezes a layer": lambda net: net.conv.requires_grad_(False),
    "freezes a norm": lambda net: net.norm.eval(),
    "sets an attribute": lambda net: setattr(net, "scale", 0.3),
    "sets a global variable": lambda net: _factor(0.3),
    "adds a hook": lambda net: net.norm.register_forward_hook(lambda m, a, out: 2 * out),
    "nothing": lambda net: None,
}


@pytest.mark.parametrize("when", ["start", "step", "epoch"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_counts_as_in_a_plain_loop(change: str, when: str) -> None:
    net = Net()
    twin = copy.deepcopy(net)
    try:
        _plain(twin, **{when: CHANGES[change]})
        _factor(1.0)
        trainer = _fit(net, **{when: CHANGES[change]})
    finally:
        _factor(1.0)
    assert trainer.program is not None
    assert len(trainer.history) == 3
    expected = twin.state_dict()
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_layer_is_frozen_at_first() -> None:
    net = Net()
    twin = copy.deepcopy(net)
    changes = {
        "start": lambda net: net.conv.requires_grad_(False),
        "epoch": lambda net: net.conv.requires_grad_(True),
    }
    _plain(twin, **changes)
    _fit(net, **changes)
    torch.testing.assert_close(net.conv.weight, twin.conv.weight, rtol=1e-3, atol=1e-5)


def test_a_gradient_hook_makes_the_rest_eager() -> None:
    net, seen = Net(), []
    with pytest.warns(UserWarning, match="conv.weight has a gradient hook"):
        trainer = _fit(net, epoch=lambda net: net.conv.weight.register_hook(seen.append))
    assert len(seen) == 4
    assert trainer.program is None


def _assign_data(net: Any) -> None:
    net.fc.weight.data = 0.5 * net.fc.weight.data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda net: setattr(net, "fc", nn.Linear(6, 5)), "can be replaced, got another fc.weight"),
        (_assign_data, "can be replaced, got another fc.weight; change its values in place"),
        (lambda net: net.norm.requires_grad_(True), "requires_grad=True for norm.weight"),
        (
            lambda net: setattr(net.norm, "running_mean", torch.zeros(6)),
            "another norm.running_mean",
        ),
    ],
)
@pytest.mark.parametrize("when", ["step", "epoch"])
def test_changes_that_a_training_cannot_follow(change: Change, words: str, when: str) -> None:
    net = Net()
    net.norm.requires_grad_(False)
    with pytest.raises(RuntimeError, match=words):
        _fit(net, **{when: change})
