"""`fit` anneals a model to its ratio."""

import copy

import pytest
import torch
from proprelu import SGD, Anneal, Trainer, anneal_step, convert
from proprelu.graph.settle import slope_of
from torch import nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (64, 3, 9, 9), generator=generator, dtype=torch.uint8)
    return images, torch.randint(4, (64,), generator=generator)


def trainer(model, **settings):
    return Trainer(model, SGD(lr=0.05), "constant", progress=False, **settings)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_slope_advances_with_each_step(precision):
    model = convert(network(), "2:1", anneal=Anneal(epochs=2))
    own = trainer(model, precision=precision)
    own.fit(data(), epochs=1, batch_size=16)
    assert own.program is not None  # captured once, not run in Python
    assert float(slope_of(model).value) == pytest.approx(0.5, rel=1e-5)
    own.fit(data(), epochs=1, batch_size=16)
    assert slope_of(model) is None
    assert torch.isfinite(model(torch.zeros(1, 3, 9, 9))).all()


def test_matches_a_loop_by_hand():
    mine, theirs = (convert(network(), "2:1", anneal=Anneal(epochs=2)) for _ in range(2))
    images, labels = data()
    images, labels = images[:16], labels[:16]
    own = trainer(mine)
    own.fit((images, labels), epochs=1, batch_size=16)
    normalized = images.float() / 255
    mean = normalized.mean((0, 2, 3), keepdim=True)
    deviation = normalized.std((0, 2, 3), keepdim=True, correction=0)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    loss = nn.functional.cross_entropy(theirs((normalized - mean) / deviation), labels)
    assert own.history[0]["train_loss"] == pytest.approx(loss.item(), rel=1e-3)
    loss.backward()
    optimizer.step()
    anneal_step(theirs)
    assert torch.equal(slope_of(mine).value, slope_of(theirs).value)


def test_an_evaluation_does_not_advance_the_slope():
    model = convert(network(), "2:1", anneal=Anneal(epochs=2))
    own = trainer(model)
    own.fit(data(), data(), epochs=1, batch_size=16)
    own.evaluate(data())
    assert float(slope_of(model).value) == pytest.approx(0.5, rel=1e-5)


def test_a_resumed_training_continues_the_annealing(tmp_path):
    model = convert(network(), "2:1", anneal=Anneal(epochs=4))
    trainer(model).fit(data(), epochs=1, batch_size=16, checkpoint=tmp_path / "a")
    other = convert(network(), "2:1", anneal=Anneal(epochs=4))
    trainer(other).fit(data(), epochs=2, batch_size=16, resume=tmp_path / "a")
    assert float(slope_of(other).value) == pytest.approx(0.5, rel=1e-5)


class Functional(nn.Module):
    """Activations as function, method and shared module."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3 if i == 0 else 8, 8, 3) for i in range(4)])
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(8, 4)

    def forward(self, x):
        a, b, c, d = self.convs
        x = nn.functional.relu(a(x))
        x = c(self.relu(b(x))).relu()
        return self.head(self.relu(d(x)).mean((2, 3)))


def activations_of(model):
    own = trainer(model)
    own.fit(data(), epochs=1, batch_size=16)
    assert own.program is not None
    return str(own.program).count("aten::relu "), own.history[0]["train_loss"]


def test_a_captured_step_has_the_activations_that_are_left():
    torch.manual_seed(0)
    model = Functional()
    half = convert(model, "2:1")
    whole, _ = activations_of(copy.deepcopy(model))
    left, loss = activations_of(half)
    assert 0 < left < whole
    assert torch.isfinite(torch.tensor(loss))
