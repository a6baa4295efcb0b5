"""Trainers of networks that are built alike share captured graphs, and no others do."""

from collections.abc import Callable
from typing import Any

import proprelu
import pytest
import torch
from proprelu.train import runner
from proprelu.train.captures import Captures
from torch import Tensor, nn
from torch.nn import functional as F

IMAGES, LABELS = torch.randn(16, 2, 8, 8), torch.randint(4, (16,))


class Net(nn.Module):
    """A network with much of what a graph depends on."""

    power = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.again = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.fc = nn.BatchNorm2d(4), nn.Linear(4, 4)
        self.settings = {"slope": [0.1]}
        self.shift: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.norm(self.conv(x)), self.settings["slope"][0]) * self.power
        y = self.again(y).relu() + self.shift
        out: Tensor = self.fc(y.mean((2, 3)))
        return out


class Other(Net):
    power = 2.0


def _made(change: Callable[[Any], Any] = lambda net: None, seed: int = 0) -> Net:
    torch.manual_seed(seed)
    net = Net()
    change(net)
    return net


def _trained(net: Net, captures: Captures | None, **settings: Any) -> list[Tensor]:
    trainer = proprelu.Trainer(net, proprelu.SGD(lr=0.1), progress=False, **settings)
    trainer.captures = captures
    trainer.fit((IMAGES, LABELS), epochs=2, batch_size=8)
    loss = trainer.evaluate((IMAGES, LABELS), batch_size=8)["loss"]
    return [*(tensor.clone() for tensor in net.state_dict().values()), torch.tensor(loss)]


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The steps that were captured."""
    steps: list[nn.Module] = []
    capture = runner.capture_step

    def counted(step: Any, *batch: Tensor) -> Any:
        steps.append(step)
        return capture(step, *batch)

    monkeypatch.setattr(runner, "capture_step", counted)
    return steps


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("ratio", ["1:1", "2:1"])
def test_networks_that_are_built_alike_share_a_graph(captured: list[Any], ratio: str) -> None:
    def build(seed: int) -> Net:
        return proprelu.convert(_made(seed=seed), ratio, inplace=True)

    captures = Captures(8)
    first = _trained(build(0), captures)
    second = _trained(build(1), captures)
    assert len(captured) == 1
    assert not _equal(first, second)
    assert _equal(first, _trained(build(0), None))
    assert _equal(second, _trained(build(1), None))


def _slope(net: Net) -> None:
    net.settings["slope"][0] = 0.5


def _shift(net: Net) -> None:
    net.shift = torch.ones(4, 1, 1)


def _frozen(net: Net) -> None:
    net.conv.weight.requires_grad_(False)


def _frozen_norm(net: Net) -> None:
    net.train()
    net.norm.eval()


def _hook(net: Net) -> None:
    net.conv.register_forward_hook(lambda module, args, output: output * 2)


def _tied(net: Net) -> None:
    net.again.bias = net.conv.bias


def _other_module(net: Any) -> None:
    net.norm = nn.GroupNorm(2, 4)


def _other_class(net: Any) -> None:
    net.__class__ = Other


def _own_forward(net: Any) -> None:
    net.forward = lambda x: Net.forward(net, -x)


def _stride(net: Net) -> None:
    net.conv.stride = (2, 2)


def _dropped(net: Net) -> None:
    proprelu.convert(net, "2:1", inplace=True)


@pytest.mark.parametrize(
    "change",
    [
        *(_slope, _shift, _frozen, _frozen_norm, _hook, _tied),
        *(_other_module, _other_class, _own_forward, _stride, _dropped),
    ],
)
def test_a_network_that_differs_has_a_graph_of_its_own(change: Callable[[Any], Any]) -> None:
    captures = Captures(8)
    _trained(_made(), captures)
    assert _equal(_trained(_made(change), captures), _trained(_made(change), None))


def test_code_that_has_changed_is_captured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.norm(self.conv(x)).mean((2, 3)))
        return out

    captures = Captures(8)
    _trained(_made(), captures)
    # As an editor that reloads modules does it: the function stays, its code is another one.
    monkeypatch.setattr(Net.forward, "__code__", forward.__code__)
    assert _equal(_trained(_made(), captures), _trained(_made(), None))


def test_a_global_that_has_changed_is_captured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    captures = Captures(8)
    _trained(_made(), captures)
    monkeypatch.setattr(Net, "power", 3.0)
    assert _equal(_trained(_made(), captures), _trained(_made(), None))


def test_settings_that_a_graph_depends_on_are_told_apart() -> None:
    captures = Captures(8)
    for settings in ({}, {"precision": "bf16"}, {"loss": proprelu.CrossEntropy(0.1)}):
        shared = _trained(_made(), captures, **settings)
        assert _equal(shared, _trained(_made(), None, **settings))


def test_only_the_last_graphs_are_kept(captured: list[Any]) -> None:
    captures = Captures(1)  # a step is followed by a graph for evaluation
    for _ in range(2):
        _trained(_made(), captures)
    assert len(captured) == 2
