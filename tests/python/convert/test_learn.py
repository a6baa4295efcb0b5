import copy

import pytest
import torch
from proprelu import convert, learn_placement, plan_for, ratio_of
from torch import nn


def network():
    torch.manual_seed(0)
    layers = []
    for i in range(4):
        layers += [nn.Conv2d(6 if i else 3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def data():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (32,), generator=generator)
    images = torch.randn(32, 3, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1)
    return list(zip(images.split(8), labels.split(8), strict=True))


@pytest.mark.parametrize("ratio", ["2:1", "4:1", {"[25]": "2:1", "default": "1:1"}])
def test_the_ratio_comes_out_and_the_network_learns(ratio):
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    learned, ranking = learn_placement(model, ratio, data(), epochs=8, lr=0.05, progress=False)
    plan = plan_for(model, ratio, ranking)
    assert plan.placement == "learned"
    assert str(ratio_of(learned)) == f"4:{plan.kept}"
    assert [n for n, _ in learned.named_buffers()] == [n for n, _ in model.named_buffers()]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert list(learned.state_dict()) == list(before)
    images, labels = (torch.cat(part) for part in zip(*data(), strict=True))
    loss = nn.functional.cross_entropy
    assert loss(learned(images), labels) < loss(model(images), labels)


def test_the_penalty_pulls_every_slope_to_0_or_1():
    _, ranking = learn_placement(
        network(), "2:1", data(), epochs=30, slope_lr=0.2, penalty=5.0, progress=False
    )
    slopes = sorted(1 - cost for cost in ranking.costs)
    assert slopes[:2] == pytest.approx([0, 0], abs=0.1)
    assert slopes[2:] == pytest.approx([1, 1], abs=0.1)


def test_weights_stay_with_lr_0_and_in_place_they_are_shared():
    model = network().eval()
    before = copy.deepcopy(model.state_dict())
    learned, ranking = learn_placement(model, "2:1", data(), lr=0.0, inplace=True, progress=False)
    names = [name for name, _ in model.named_parameters()]
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in names)
    assert learned.get_parameter("0.weight") is model[0].weight
    assert not learned.training
    model.load_state_dict(before)
    images = data()[0][0]
    assert torch.equal(learned(images), convert(model, "2:1", ranking)(images))


def test_by_name_the_choice_is_learned_and_the_weights_stay():
    model = network()
    converted = convert(model, "2:1", "learned", calibration=data())
    _, ranking = learn_placement(model, "2:1", data(), progress=False)
    assert plan_for(converted, "1:1", skip="*").keep == plan_for(model, "2:1", ranking).keep
    state = converted.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"data": [data()[0][0]]}, ValueError, "data must hold labels"),
        ({"data": []}, ValueError, "at least one batch"),
        ({"ratio": "1:2"}, ValueError, "1:2"),
        ({"lr": float("inf")}, FloatingPointError, "the loss became"),
    ],
)
def test_errors(change, error, message):
    arguments = {"ratio": "2:1", "data": data(), "progress": False, **change}
    with pytest.raises(error, match=message):
        learn_placement(network(), **arguments)
