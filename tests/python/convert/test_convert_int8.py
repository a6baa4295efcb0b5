"""Networks in which ones with 8-bit operands replace the convolutions."""

from __future__ import annotations

import warnings
from typing import Any

import proprelu
import pytest
import torch
from proprelu.convert import int8, ratio_of
from proprelu.nn import Int8, Int8Conv2d
from torch import nn


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU(),
        nn.Conv2d(6, 8, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("skip", "expected"),
    [
        (("first",), ["3", "5"]),
        (("first", "last"), ["3"]),
        ((), ["0", "3", "5"]),
        ("last", ["0", "3"]),
        (["[35]"], ["0"]),
    ],
)
def test_which_layers(skip: Any, expected: list[str]) -> None:
    net = int8(_net(), skip=skip)
    assert [path for path, each in net.named_modules() if type(each) is Int8Conv2d] == expected


def test_parameters_hooks_and_modes_stay() -> None:
    net = _net()
    calls: list[int] = []
    net[3].register_forward_hook(lambda *_: calls.append(1))
    net[3].weight.requires_grad_(False)
    net.eval()
    before = {name: id(p) for name, p in net.named_parameters()}
    settings = Int8(clipping="max")
    assert int8(net, settings, inplace=True) is net
    assert {name: id(p) for name, p in net.named_parameters()} == before
    assert net[5].settings is settings
    assert not net[3].training
    net(torch.randn(1, 1, 6, 6))
    assert calls == [1]
    assert type(int8(_net()).get_submodule("0")) is nn.Conv2d


def test_a_copy_leaves_the_model_alone() -> None:
    net = _net()
    new = int8(net)
    assert type(net[3]) is nn.Conv2d
    assert new[3].weight is not net[3].weight
    assert torch.equal(new[3].weight, net[3].weight)


def test_a_convolution_that_is_used_twice_stays_one() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1)
    net = int8(nn.Sequential(nn.Conv2d(1, 2, 1), conv, nn.ReLU(), conv))
    assert net[1] is net[3]
    assert type(net[1]) is Int8Conv2d


def test_nothing_to_replace() -> None:
    with pytest.raises(ValueError, match="must have a Conv2d that is not skipped, got Sequential"):
        int8(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module"):
        int8(3)  # type: ignore[arg-type]


def test_a_ratio_counts_its_convolutions() -> None:
    net = int8(proprelu.convert(_net(), "3:1"))
    assert ratio_of(net).convs == 3
    assert ratio_of(net).relus == 1


def test_merging_leaves_the_layers_alone() -> None:
    net = int8(_net())
    net(torch.randn(4, 1, 8, 8))
    merged = proprelu.merge(net.eval(), torch.randn(2, 1, 8, 8), cost="macs")
    assert sum(type(each) is Int8Conv2d for each in merged.modules()) == 2


def test_settings_of_another_type_change_nothing() -> None:
    net = _net()
    with pytest.raises(TypeError, match=r"settings must be an Int8, .* got str"):
        int8(net, "max", inplace=True)  # type: ignore[arg-type]
    assert type(net[3]) is nn.Conv2d
    with pytest.raises(TypeError, match="settings must be an Int8"):
        Int8Conv2d(1, 2, 3, settings=None)  # type: ignore[arg-type]


def test_it_learns_as_the_original_does() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(96) % 3
    images = torch.randn(96, 1, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1) - 1
    losses = []
    for net in (_net(), int8(_net())):
        trainer = proprelu.Trainer(net, proprelu.SGD(lr=0.3), progress=False)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            history = trainer.fit((images, labels), epochs=8, batch_size=32)
        said = " ".join(str(each.message) for each in warned)
        assert ("int8_scales.default changes its arguments in place" in said) == bool(losses)
        losses.append(history.last["train_loss"])
    assert losses[0] < 1.0
    assert losses[1] == pytest.approx(losses[0], abs=0.05)
