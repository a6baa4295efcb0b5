"""Calls of a trainer change weights and statistics, and nothing else of their caller's."""

import copy
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from proprelu import SGD, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from world import SURROUNDINGS, Everything, generators_now, unchanged

_IMAGES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
_LABELS = torch.arange(16) % 5


def _data() -> tuple[Tensor, Tensor]:
    """Images and labels; inference tensors under inference mode."""
    return _IMAGES.clone(), _LABELS.clone()


def _model(kind: type[Everything] = Everything) -> Everything:
    torch.manual_seed(0)
    model = kind()
    model.norm.eval()  # frozen statistics
    model.fc.share_memory()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    return model


class Uncapturable(Everything):
    """Runs in PyTorch, because its forward reads the values of a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if x.sum() > -1e9 else -y


class FailingError(Exception):
    pass


class Failing:
    """A logger that raises an exception."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None: ...
    def on_step(self, event: Any) -> None:
        raise self.error

    def on_epoch(self, row: Any) -> None: ...
    def on_fit_end(self) -> None: ...


def _fit(trainer: Trainer) -> Any:
    trainer.fit(_data(), _data(), epochs=2, batch_size=8)
    return copy.deepcopy(trainer.model.state_dict())


CALLS: dict[str, Callable[[Trainer], Any]] = {
    "fit": _fit,
    "evaluate": lambda trainer: trainer.evaluate(_data(), batch_size=8),
    "predict": lambda trainer: trainer.predict(_data()[0], batch_size=8),
    "loader": lambda trainer: trainer.evaluate(DataLoader(TensorDataset(*_data()), 8)),
}


@pytest.fixture(params=["captured", "plain", "eager"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Everything]:
    """A model; the program or PyTorch computes its predictions, PyTorch also its steps."""
    if request.param == "plain":
        monkeypatch.setattr("proprelu.train.session.WORTH_CAPTURING", 1000)
    return Uncapturable if request.param == "eager" else Everything


@cache
def _expected(kind: type[Everything], call: str) -> Any:
    """What a call returns where nothing is unusual."""
    with torch.random.fork_rng():
        return CALLS[call](_trainer(kind))


def _trainer(kind: type[Everything], **settings: Any) -> Trainer:
    return Trainer(_model(kind), SGD(lr=0.01), progress=False, **settings)


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict", "loader"])
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_a_call_depends_on_nothing_around_it_and_leaves_it(
    kind: type[Everything], call: str, surroundings: str
) -> None:
    if (call, surroundings) == ("loader", "default_device"):
        pytest.skip("torch's DataLoader needs a default device with memory")
    expected = _expected(kind, call)
    trainer = _trainer(kind)
    left = unchanged(trainer.model, values=call != "fit", generators=call != "loader")
    with SURROUNDINGS[surroundings](), left:
        found = CALLS[call](trainer)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    x, y = _data()
    nn.functional.cross_entropy(trainer.model.train()(x), y).backward()


@pytest.mark.parametrize("error", [FailingError(), KeyboardInterrupt()], ids=repr)
@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_a_training_that_is_stopped_leaves_everything(
    kind: type[Everything], error: BaseException
) -> None:
    trainer = _trainer(kind, loggers=[Failing(error)])
    with unchanged(trainer.model), pytest.raises(type(error)):
        trainer.fit(_data(), epochs=1, batch_size=8)


@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_whatever_shares_the_memory_of_a_parameter_sees_its_values(
    kind: type[Everything],
) -> None:
    model = _model(kind)
    view, before = model.conv.weight.detach()[0], model.memory.clone()
    numpy = model.conv.weight.detach().numpy()
    Trainer(model, SGD(lr=0.1), ema_decay=0.5, progress=False).fit(_data(), epochs=1, batch_size=8)
    assert torch.equal(view, model.conv.weight[0])
    assert np.array_equal(numpy, model.conv.weight.detach().numpy())
    flat = torch.cat([p.detach().flatten() for p in model.flat.parameters()])
    assert torch.equal(model.memory, flat)
    assert not torch.equal(model.memory, before)
    assert model.fc.weight.is_shared()


def test_a_parameter_with_gaps_in_its_memory_trains() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    gaps = copy.deepcopy(plain)
    wide = torch.zeros(5, 400)
    wide[:, 7:199] = plain[1].weight.detach()
    gaps[1].weight.data = wide[:, 7:199]
    for model in (plain, gaps):
        Trainer(model, SGD(lr=0.1), progress=False).fit(_data(), epochs=1, batch_size=8)
    assert torch.equal(plain[1].weight, gaps[1].weight)
    assert torch.equal(wide[:, 7:199], gaps[1].weight)
    assert wide[:, :7].abs().sum() == 0


def test_autograd_notices_that_parameters_have_changed() -> None:
    model = _model()
    loss = model(_data()[0]).square().sum()
    Trainer(model, SGD(lr=0.01), progress=False).fit(_data(), epochs=1, batch_size=8)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class Noisy(Dataset[Any]):
    """Draws from the three generators that transforms draw from."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Any:
        drawn = (torch.rand(()).item(), float(np.random.rand()), random.random())
        self.seen.append((index, *drawn))
        return torch.full((3, 8, 8), sum(drawn)), index % 5


def _seed_all() -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)


@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_a_loader_draws_as_in_a_plain_loop(kind: type[Everything]) -> None:
    data = Noisy()
    loader = DataLoader(data, 8, shuffle=True)
    trainer = _trainer(kind)
    _seed_all()
    for _ in range(3):
        list(loader)
    expected, states = data.seen[:], generators_now()
    _seed_all()
    found = []
    for _ in range(2):
        data.seen.clear()
        trainer.fit(loader, epochs=1)
        found += data.seen[-16:]
    data.seen.clear()
    trainer.evaluate(loader)
    assert found + data.seen[-16:] == expected
    assert generators_now() == states


@pytest.mark.parametrize("calls", ["one", "two"])
@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_dropout_is_drawn_by_the_seed_whatever_the_caller_draws(
    kind: type[Everything], calls: str
) -> None:
    def trained(seed: int, noise: int) -> Tensor:
        trainer = Trainer(_model(kind), SGD(lr=0.1), seed=seed, progress=False)
        torch.manual_seed(noise)
        loader = DataLoader(TensorDataset(*_data()), 8)
        for epochs in (2,) if calls == "one" else (1, 1):
            trainer.fit(loader, epochs=epochs)
        weight: Tensor = trainer.model.fc.weight.detach()
        return weight

    first = trained(seed=1, noise=1)
    assert torch.equal(trained(seed=1, noise=2), first)
    assert not torch.equal(trained(seed=2, noise=1), first)
