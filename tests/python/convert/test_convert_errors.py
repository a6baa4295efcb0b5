from functools import partial

import pytest
import torch
from proprelu import convert, plan_for, ratio_of, sensitivity
from proprelu.convert import (
    conv_stem,
    covariance_head,
    decompose,
    factorize,
    remove_layers,
    tie_blocks,
)
from torch import nn


def net():
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.ReLU())


def one_line(error):
    assert "\n" not in str(error.value)
    assert ";" in str(error.value)


@pytest.mark.parametrize("call", [plan_for, convert])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("1:2",), "ratio must have convs >= relus >= 1"),
        (("2:1", "middle"), "placement must be last, first"),
        (("2:1", [True]), "a mask must have one boolean for each of the 2 sites, got 1"),
        (("2:1", "block_last"), "placement block_last needs residual blocks"),
    ],
)
def test_bad_arguments(call, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(net(), *arguments)
    one_line(caught)


@pytest.mark.parametrize("call", [plan_for, convert])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.ReLU()), "must have a convolution, got Sequential"),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.GELU()), "must have a ReLU or ReLU6"),
        (nn.DataParallel(net()), r"got one in DataParallel; convert .*model\.module"),
        (
            torch.compile(net(), backend="eager"),
            r"got one in torch\.compile; .*model\._orig_mod",
        ),
    ],
)
def test_bad_models(call, model, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(model, "2:1")
    one_line(caught)


def test_a_distributed_model_is_refused(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(net())
        for call in (ratio_of, lambda model: convert(model, "2:1")):
            with pytest.raises(ValueError, match="got one in DistributedDataParallel") as caught:
                call(wrapped)
            one_line(caught)
    finally:
        torch.distributed.destroy_process_group()


def test_a_scripted_model_is_refused():
    with pytest.warns(DeprecationWarning, match="script"):
        scripted = torch.jit.script(net())
    with pytest.raises(ValueError, match="got a ScriptModule"):
        convert(scripted, "2:1")


def test_no_module_is_refused():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
        convert("resnet18", "2:1")


@pytest.mark.parametrize(
    "change",
    [
        decompose,
        partial(factorize, macs=0.9),
        tie_blocks,
        conv_stem,
        covariance_head,
        partial(remove_layers, names=["2"], example_input=None),
        partial(sensitivity, data=None),
    ],
    ids=lambda change: getattr(change, "func", change).__name__,
)
def test_no_way_to_change_a_model_takes_a_wrapped_one(change):
    compiled = nn.Sequential(torch.compile(net(), backend="eager"))
    cases = [
        ("resnet18", "got str"),
        (nn.DataParallel(net()), "must not be wrapped, got one in DataParallel; "),
        (compiled, "no compiled parts, got 0 in torch.compile; .* and compile it afterwards"),
    ]
    for model, message in cases:
        with pytest.raises((TypeError, ValueError), match=message) as caught:
            change(model)
        one_line(caught)
