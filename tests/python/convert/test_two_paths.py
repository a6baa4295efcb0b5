"""Networks with a forward that branches on the training mode."""

import copy
import pickle
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from proprelu import SGD, Anneal, Trainer, anneal_step, convert, plan_for, ratio_of, revert
from torch import Tensor, nn
from torchvision.models import googlenet


class Outputs(NamedTuple):
    logits: Tensor
    aux: Tensor


class WithAux(nn.Module):
    """Has a second head in training mode only."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.bn, self.aux = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
        self.fc1, self.fc2 = nn.Linear(4, 3), nn.Linear(4, 3)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU()
        self.offset = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        x = self.relu1(self.bn(self.conv1(x)))
        y = self.relu2(self.conv2(x))
        logits = self.fc1(y.mean((2, 3))) + self.offset
        if self.training:
            aux = self.fc2(self.relu3(self.aux(x)).mean((2, 3)))
            return Outputs(logits, aux)
        return logits


def x(size=9):
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))


def same(a, b):
    a, b = (value if isinstance(value, tuple) else (value,) for value in (a, b))
    return len(a) == len(b) and all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_both_paths_are_kept(training):
    model = WithAux().train(training)
    converted = convert(model, "1:1")
    for mode in (training, not training, training):
        expected, got = (
            m.train(mode)(x()) for m in (copy.deepcopy(model), copy.deepcopy(converted))
        )
        assert type(got) is type(expected)
        assert same(got, expected)
    assert list(converted.state_dict()) == list(model.state_dict())


def test_the_ratio_is_that_of_evaluation():
    model = WithAux()
    assert [site.name for site in plan_for(model, "2:1").sites] == ["relu1", "relu2"]
    assert str(ratio_of(convert(model, "2:1"))) == "2:1"


def linear_first(model, images):
    y = model.relu2(model.conv2(model.bn(model.conv1(images))))
    return model.fc1(y.mean((2, 3))) + model.offset


@pytest.mark.parametrize(
    "copied", [lambda m: m, copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_dropped_in_both(copied):
    model = WithAux()
    converted = copied(convert(model, "2:1"))
    model.bn.momentum = converted.bn.momentum = 0.0
    converted.train()
    assert torch.equal(converted(x()).logits, linear_first(model.train(), x()))
    converted.eval()
    assert torch.equal(converted(x()), linear_first(model.eval(), x()))
    with torch.no_grad():
        converted.offset += 1
        converted.conv1.weight += 1
        model.conv1.weight += 1
    assert torch.equal(converted(x()), linear_first(model, x()) + 1)
    converted.train()
    assert torch.equal(converted(x()).logits, linear_first(model.train(), x()) + 1)
    assert same(revert(converted).eval()(x()), model.eval()(x()) + 1)


def test_it_follows_its_tensors():
    converted = convert(WithAux(), "2:1").double().train()
    assert converted(x().double()).aux.dtype == torch.float64
    converted(x().double()).logits.sum().backward()
    assert converted.offset.grad is not None


def test_annealed_in_both():
    model = convert(WithAux(), "2:1", anneal=Anneal(epochs=2)).eval()
    assert anneal_step(model) == 0.5
    assert anneal_step(model) == 1.0
    assert torch.equal(model(x()), linear_first(model, x()))


class Both(nn.Module):
    def forward(self, output, labels):
        if isinstance(output, Tensor):
            return F.cross_entropy(output, labels)
        return F.cross_entropy(output[0], labels) + 0.3 * F.cross_entropy(output[1], labels)


def test_it_trains():
    model = convert(WithAux(), "2:1")
    before = model.aux.weight.detach().clone()
    trainer = Trainer(model, SGD(lr=0.05), loss=Both(), progress=False)
    labels = torch.arange(4) % 3
    history = trainer.fit((x(), labels), (x(), labels), epochs=2, batch_size=4)
    assert trainer.program is not None
    assert len(history) == 2
    assert not torch.equal(model.aux.weight, before)


def test_googlenet():
    model = googlenet(weights=None, init_weights=False, num_classes=4)
    converted = convert(model, "2:1", inplace=True)
    assert str(ratio_of(converted)).endswith(":29")
    out = converted.train()(torch.randn(2, 3, 64, 64))
    assert out.aux_logits1.shape == out.logits.shape == (2, 4)
    assert converted.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 4)


class Twice(WithAux):
    """Uses one activation in both modes, and if requested once more in training mode."""

    more = False

    def forward(self, x):
        x = self.relu1(self.conv2(self.relu1(self.conv1(x))))
        if self.training:
            return (self.relu1(x) if self.more else x) * 2
        return x


def test_used_more_than_once():
    model = Twice()
    converted = convert(model, "2:1")
    for mode, factor in ((True, 2), (False, 1)):
        expected = model.relu1(model.conv2(model.conv1(x()))) * factor
        assert torch.equal(converted.train(mode)(x()), expected)


def test_used_more_often_in_training():
    model = Twice()
    model.more = True
    with pytest.raises(ValueError, match="uses an activation more often in training"):
        convert(model, "2:1")
