import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from proprelu import Anneal, anneal_step, convert, plan_for, ratio_of, revert
from proprelu.graph import SLOPE, sloped
from proprelu.graph.settle import slope_of
from torch import nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
    )  # fmt: skip


def x():
    return torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def names(model):
    return [name for name, _ in model.named_buffers() if SLOPE in name]


def test_it_starts_as_the_network_and_ends_converted():
    model = network().eval()
    way = convert(model, "2:1", anneal=Anneal(epochs=4))
    assert torch.equal(way(x()), model(x()))
    assert list(way.state_dict()) == list(model.state_dict())
    assert str(ratio_of(way)) == "2:1"
    slopes = [anneal_step(way) for _ in range(2)]
    assert slopes == [0.25, 0.5]
    hidden = F.leaky_relu(model[1](model[0](x())), 0.5)
    expected = F.relu(model[4](model[3](hidden)))
    torch.testing.assert_close(way(x()), expected)
    anneal_step(way)
    assert anneal_step(way) == 1.0
    assert torch.equal(way(x()), convert(model, "2:1")(x()))
    assert not names(way)
    assert "DroppedReLU" in repr(way)
    assert anneal_step(way) == 1.0


def test_steps_of_an_epoch():
    way = convert(network(), "2:1", anneal=Anneal(epochs=2))
    for _ in range(5):
        slope = anneal_step(way, steps_per_epoch=5)
    assert slope == pytest.approx(0.5)
    for _ in range(5):
        slope = anneal_step(way, steps_per_epoch=5)
    assert slope == 1.0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_anneals_independently(copied):
    way = convert(network().eval(), "2:1", anneal=Anneal(epochs=2))
    anneal_step(way)
    other = copied(way)
    assert torch.equal(other(x()), way(x()))
    anneal_step(other)
    assert slope_of(way).value == 0.5
    assert slope_of(other) is None


def test_it_can_be_converted_again():
    model = network().eval()
    way = convert(model, "2:1", anneal=Anneal(epochs=2))
    assert torch.equal(convert(way, "2:1")(x()), convert(model, "2:1")(x()))
    assert torch.equal(revert(way)(x()), model(x()))
    again = convert(way, "2:1", [False, False], anneal=Anneal(epochs=1))
    assert plan_for(again, {"2": "1:1"}).keep == [True, False]
    assert torch.equal(again(x()), model(x()))
    assert anneal_step(again) == 1.0
    assert not names(again)


@pytest.mark.parametrize("kind", [nn.ReLU6(), nn.SiLU(), nn.PReLU(4), nn.LeakyReLU(0.1)])
def test_any_activation(kind):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), kind, nn.Conv2d(4, 4, 3)).eval()
    names = ("relu6", "silu", "prelu", "leaky_relu")
    way = convert(model, "1:1", [False], activations=names, anneal=Anneal(epochs=2))
    torch.testing.assert_close(way(x()), model(x()))
    anneal_step(way)
    hidden = model[0](x())
    torch.testing.assert_close(way(x()), model[2]((hidden + kind(hidden)) / 2))


@pytest.mark.parametrize("activation", ["relu", "relu6_", "gelu"])
def test_gradients(activation):
    inputs = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    slope = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, a: sloped(x, activation, a), (inputs, slope))


def test_it_trains_under_autocast_and_compiles():
    way = convert(network(), "2:1", anneal=Anneal(epochs=2))
    anneal_step(way)
    with torch.autocast("cpu", torch.bfloat16):
        way(x()).sum().backward()
    assert all(p.grad.isfinite().all() for p in way.parameters())
    way.eval()
    compiled = torch.compile(way, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x()), way(x()))


def test_errors():
    with pytest.raises(ValueError, match="epochs must be a number above 0, got 0"):
        Anneal(epochs=0)
    with pytest.raises(ValueError, match="must be the result of convert with anneal"):
        anneal_step(network())
    with pytest.raises(ValueError, match="steps_per_epoch must be at least 1, got 0"):
        anneal_step(convert(network(), "2:1", anneal=Anneal(1)), 0)
