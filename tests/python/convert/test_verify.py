"""Every conversion is compared with the original."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from proprelu import convert, plan_for
from torch import nn
from torchvision.models import mobilenet_v2


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.bn, self.b = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
        self.relu = nn.ReLU()

    def forward(self, x):
        return F.relu(self.b(self.relu(self.bn(self.a(x)))))


class ByClass(Two):
    """Looks at the class of its activation, which a conversion replaces."""

    def forward(self, x):
        x = self.bn(self.a(x))
        x = self.relu(x * 2 if type(self.relu) is nn.ReLU else x * 3)
        return self.b(x)


class Stale(Two):
    """Takes another way when it is traced than when it is run."""

    def forward(self, x):
        x = self.a(x)
        if isinstance(x, torch.Tensor):
            return self.b(x)
        return self.b(self.relu(x))


class Returning(Two):
    """Returns something else in each call."""

    def __init__(self):
        super().__init__()
        self.calls = iter(range(1000))

    def forward(self, x):
        return super().forward(x) * next(self.calls)


def test_the_first_operation_that_differs_is_named():
    model = ByClass()
    for call in (plan_for, convert):
        with pytest.raises(RuntimeError, match=r"Tensor\.mul in the forward gives") as info:
            call(model, "1:1", [False], verify=True)
        assert str(info.value).startswith("cannot convert ByClass, as its activations cannot be")
        assert "\n" not in str(info.value)
    with pytest.raises(RuntimeError, match="something else than before"):
        convert(model, "1:1", [False], inplace=True)
    assert type(model.relu) is nn.ReLU
    assert str(convert(model, "1:1", [False], verify=False)).count("Dropped") == 1


def test_an_activation_that_is_never_called_is_named():
    with pytest.raises(RuntimeError, match="relu is traced but never called"):
        convert(Stale(), "1:1", [False])


def test_a_model_that_never_repeats_itself():
    convert(Returning(), "2:1", inplace=True)  # it may well be right
    with pytest.raises(RuntimeError, match="run twice with the same seeds it gives different"):
        convert(Returning(), "2:1", inplace=True, verify=True)


def test_a_model_that_is_random_is_compared_with_the_same_seeds():
    class Noisy(Two):
        def forward(self, x):
            x = x * random.uniform(1, 2) + torch.randn_like(x) + float(np.random.rand())
            return super().forward(F.dropout(x, 0.5, self.training))

    assert plan_for(Noisy(), "2:1", verify=True).keep == [False, True]


class Pair(Two):
    def forward(self, x, y):
        return super().forward(x + y)


def test_an_input_is_needed_if_none_can_be_made_up():
    x = torch.randn(2, 3, 9, 9)
    convert(Pair(), "2:1")
    with pytest.raises(ValueError, match="example_input must be given to verify Pair, got none"):
        convert(Pair(), "2:1", verify=True)
    assert plan_for(Pair(), "2:1", example_input=(x, x), verify=True).achieved == "2:1"


@pytest.mark.parametrize("call", [plan_for, convert])
def test_an_example_that_the_model_does_not_take_is_refused(call):
    with pytest.raises(ValueError, match=r"example_input must be what Two is called with, got .*5"):
        call(Two(), "2:1", example_input=torch.randn(2, 5, 9, 9))


LAYERS = {
    "1-D": lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 3), nn.ReLU()),
    "3-D": lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 3), nn.ReLU()),
    "double": lambda: Two().double(),
    "half": lambda: Two().bfloat16(),
    "fixed size": lambda: nn.Sequential(Two(), nn.Flatten(), nn.Linear(8 * 92 * 92, 2), nn.ReLU()),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_an_input_is_made_up(kind):
    assert plan_for(LAYERS[kind](), "2:1", verify=True).achieved == "2:1"


def world(model):
    return (
        {key: value.clone() for key, value in model.state_dict().items()},
        {m: m.training for m in model.modules()},
        {p: (p.grad, p.requires_grad) for p in model.parameters()},
        {m: (type(m), dict(m.__dict__)) for m in model.modules()},
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
    )


@pytest.mark.parametrize("training", [True, False])
def test_the_world_is_as_it_was(training):
    class Counts(Two):
        def __init__(self):
            super().__init__()
            self.calls, self.seen = 0, []

        def forward(self, x):
            self.calls += 1
            self.seen.append(x)
            random.random(), torch.rand(1), np.random.rand()
            return super().forward(x)

    model, hooked = Counts().train(training), []
    model.bn.eval()
    for module in model.modules():
        module.register_forward_hook(lambda m, args, out: hooked.append(m))
    before = world(model)
    plan_for(model, "2:1", verify=True)
    convert(model, "2:1", verify=True)
    after = world(model)
    assert not hooked
    for a, b in zip(before, after, strict=True):
        if isinstance(a, dict) and all(isinstance(value, torch.Tensor) for value in a.values()):
            assert all(torch.equal(a[key], b[key]) for key in a)
        elif isinstance(a, torch.Tensor):
            assert torch.equal(a, b)
        else:
            assert a == b


def test_the_ratio_of_the_whole_model_is_said():
    message = r"2:1 counts the 35 activations .* MobileNetV2 has 52 convolutions: .* 52 .* to 18 "
    model = mobilenet_v2()
    for call in (plan_for, convert):
        with pytest.warns(UserWarning, match=message) as caught:
            call(model, "2:1")
        assert [warning.filename for warning in caught] == [__file__]
    assert "; 52 convolutions : 18 ReLUs in the whole model" in str(plan_for(model, "2:1"))


def test_one_image_is_enough_where_training_needs_two():
    def net():
        layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU()]
        return nn.Sequential(*layers)

    one = torch.randn(1, 3, 3, 3)
    converted = convert(net(), "2:1", example_input=one, verify=True)
    assert converted.training
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        converted(one)
