import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from proprelu import convert, plan_for, ratio_of
from torch import nn


class Mixed(nn.Module):
    """Activations as module, function and method, a residual add, dropout, an unused module."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.spare = nn.Linear(3, 3)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(x)))
        y = self.relu(self.conv3(y) + x)
        y = F.dropout(y, 0.5, training=self.training).relu()
        return self.fc(y.mean((2, 3)))


def x():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


def with_seed(model):
    torch.manual_seed(1)
    return model(x())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("inplace", [True, False])
def test_one_to_one_is_bit_equal(training, inplace):
    model = Mixed().train(training)
    original = copy.deepcopy(model)
    converted = convert(model, "1:1", inplace=inplace)
    assert torch.equal(with_seed(converted), with_seed(original))
    assert same_state(converted, original)
    assert converted.training is training


def test_dropped_relus_are_gone():
    model = Mixed().eval()
    converted = convert(model, "4:1", [True, False, False, False])
    y = F.relu(model.bn1(model.conv1(x())))
    y = model.conv3(model.bn2(model.conv2(y))) + y
    assert torch.equal(converted(x()), model.fc(y.mean((2, 3))))


def test_a_copy_leaves_the_model_alone():
    model = Mixed()
    original = copy.deepcopy(model)
    converted = convert(model, "2:1")
    converted(x()).sum().backward()
    assert same_state(model, original)
    assert all(p.grad is None for p in model.parameters())
    assert not {id(p) for p in model.parameters()} & {id(p) for p in converted.parameters()}


def test_in_place_the_model_itself_is_converted():
    model = Mixed()
    converted = convert(model, "2:1", inplace=True)
    assert converted is model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = converted.fc.weight.clone()
    converted(x()).sum().backward()
    optimizer.step()
    assert not torch.equal(converted.fc.weight, before)


def test_the_mode_is_followed():
    converted = convert(Mixed(), "2:1")
    assert not torch.equal(converted(x()), converted(x()))
    converted.eval()
    assert torch.equal(converted(x()), converted(x()))
    restored = pickle.loads(pickle.dumps(converted))
    assert torch.equal(restored(x()), converted(x()))
    restored.train()
    assert not torch.equal(restored(x()), restored(x()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_and_requires_grad_are_kept(dtype):
    model = Mixed().to(dtype)
    model.conv2.requires_grad_(False)
    model.bn1.eval()
    converted = convert(model, "3:2")
    assert {p.dtype for p in converted.parameters()} == {dtype}
    grads = {name: p.requires_grad for name, p in converted.named_parameters()}
    assert grads == {name: p.requires_grad for name, p in model.named_parameters()}
    assert (converted.bn1.training, converted.bn2.training) == (False, True)
    assert converted(x().to(dtype)).dtype == dtype


def test_meta_tensors_are_enough():
    with torch.device("meta"):
        model = Mixed()
    converted = convert(model, "2:1")
    assert {p.device.type for p in converted.parameters()} == {"meta"}


def test_a_converted_model_is_converted_again():
    model = Mixed().eval()
    twice = convert(convert(model, "4:1"), "2:1")
    assert plan_for(twice, "2:1") == plan_for(model, "2:1")
    assert torch.equal(twice(x()), convert(model, "2:1")(x()))
    assert torch.equal(convert(twice, "1:1")(x()), model(x()))
    assert ratio_of(twice) == (3, 2)
    restored = pickle.loads(pickle.dumps(twice))
    assert torch.equal(convert(restored, "1:1")(x()), model(x()))


def test_a_converted_model_inside_another():
    inner = convert(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), "1:1")
    outer = nn.Sequential(inner, nn.Conv2d(3, 3, 1), nn.ReLU())
    assert plan_for(outer, "2:1").keep == [False, True]
    assert torch.equal(convert(outer, "1:1")(x()), outer(x()))


def test_hooks_stay_wherever_they_are():
    model, seen = nn.Sequential(Mixed(), nn.Sequential(nn.Linear(5, 2))), []
    hooked = (model[0].conv1, model[0].relu, model[0], model[1], model)
    for module in hooked:
        module.register_forward_hook(lambda m, args, out: seen.append(type(m).__name__))
        if module is not model[0].relu:  # torch allows none on what works in place
            module.register_full_backward_hook(lambda m, grad, out: seen.append(type(m)))
    for converted in (convert(model, "1:1"), convert(model, "2:1")):
        seen.clear()
        converted(x().requires_grad_()).sum().backward()
        calls = ["Conv2d", "ReLU", "ReLU", "Mixed", "Sequential", "Sequential"]
        assert [name for name in seen if isinstance(name, str)] == calls
        assert len(seen) == len(calls) + 4


def test_training_goes_on():
    model = convert(Mixed(), "2:1")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    target = torch.tensor([1, 2])
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x()), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
