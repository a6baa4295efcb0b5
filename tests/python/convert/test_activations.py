"""Activations other than ReLU, and layers other than Conv2d and BatchNorm2d."""

import copy
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from proprelu import convert, plan_for, ratio_of, revert
from torch import nn


def called(function, *args, **kwargs):
    """A function with settings, given by name, so that the module can be pickled."""
    return partial(_call, function, args, kwargs)


def _call(function, args, kwargs, x):
    return function(x, *args, **kwargs)


KINDS = {
    "relu": (nn.ReLU(inplace=True), F.relu),
    "relu6": (nn.ReLU6(), called(F.relu6, inplace=True)),
    "leaky_relu": (nn.LeakyReLU(0.2), called(F.leaky_relu, 0.3, True)),
    "prelu": (nn.PReLU(8), called(F.prelu, torch.full((8,), 0.4))),
    "elu": (nn.ELU(0.7), called(F.elu, alpha=0.3)),
    "celu": (nn.CELU(0.6), called(torch.celu, 0.4)),
    "selu": (nn.SELU(), F.selu),
    "gelu": (nn.GELU("tanh"), called(F.gelu, approximate="tanh")),
    "silu": (nn.SiLU(inplace=True), F.silu),
    "mish": (nn.Mish(), F.mish),
    "hardswish": (nn.Hardswish(), F.hardswish),
}


class Two(nn.Module):
    """Two convolutions; the activations are a module and a function."""

    def __init__(self, module, function):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.act, self.function = module, function

    def forward(self, x):
        return self.function(self.conv2(self.act(self.conv1(x))))


def x():
    return torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_dropped_and_restored(kind):
    module, function = KINDS[kind]
    model = Two(copy.deepcopy(module), function)
    original = copy.deepcopy(model)
    gone = convert(model, "2:1", [False, False], activations=(kind,))
    assert torch.equal(gone(x()), original.conv2(original.conv1(x())))
    assert str(ratio_of(gone, activations=(kind,))) == "2:0"
    assert list(gone.state_dict()) == list(original.state_dict())
    for way in (copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))):
        back = revert(way(gone))
        assert torch.equal(back(x()), original(x()))
        assert str(ratio_of(back, activations=(kind,))) == "2:2"


def test_only_the_kinds_asked_for_are_sites():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    assert len(plan_for(model, "1:1").sites) == 1
    assert len(plan_for(model, "1:1", activations=("silu", "relu")).sites) == 2
    with pytest.raises(ValueError, match="must have a gelu after a convolution"):
        plan_for(model, "2:1", activations="gelu")
    with pytest.raises(ValueError, match=r"activations=\(\"silu"):
        plan_for(nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()), "2:1")


def test_a_hard_sigmoid_is_no_site():
    class HardSwish(nn.Module):
        def forward(self, x):
            return x * F.relu6(x + 3) / 6

    model = nn.Sequential(nn.Conv2d(3, 4, 3), HardSwish(), nn.Conv2d(4, 4, 3), nn.ReLU())
    plan = plan_for(model, "1:1")
    assert [site.name for site in plan.sites] == ["3"]
    assert plan.others == (("1.relu6", "in a hard sigmoid"),)


LAYERS = {
    "1-D": (nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.Conv1d(4, 4, 3, groups=2)),
    "3-D": (nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.Conv3d(4, 4, 3, groups=4)),
    "transposed": (nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ConvTranspose2d(4, 4, 3, stride=2)),
    "instance": (nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 3, dilation=2)),
    "none": (nn.Conv2d(3, 4, 3), nn.Identity(), nn.Conv2d(4, 4, 3)),
}


@pytest.mark.parametrize("layers", LAYERS)
def test_any_convolution_and_norm(layers):
    first, norm, second = copy.deepcopy(LAYERS[layers])
    model = nn.Sequential(first, norm, nn.ReLU(), second, nn.ReLU()).eval()
    dims = {"1-D": 1, "3-D": 3}.get(layers, 2)
    images = torch.randn(2, 3, *[11] * dims)
    assert torch.equal(convert(model, "1:1")(images), model(images))
    assert torch.equal(convert(model, "2:1")(images), F.relu(second(norm(first(images)))))
