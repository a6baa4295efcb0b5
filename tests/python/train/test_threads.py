"""Trainers in several threads: each has the results that it has alone."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from proprelu import SGD, Trainer
from torch import Tensor, nn
from world import Everything


def _data() -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 3, 8, 8, generator=generator), torch.arange(32) % 5


class Reading(Everything):
    """Runs in PyTorch, because its forward reads the values of a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if x.sum() > -1e9 else -y


def _trainer(kind: type[nn.Module], seed: int, **settings: Any) -> Trainer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Trainer(kind(), SGD(lr=0.01), seed=seed, progress=False, **settings)


def _trained(trainer: Trainer) -> Tensor:
    trainer.fit(_data(), epochs=3, batch_size=8)
    return trainer.predict(_data()[0])


def _together(*actions: Callable[[], Any]) -> list[Any]:
    """Run actions in threads that start at once; returns results or errors."""
    results: list[Any] = [None] * len(actions)
    start = threading.Barrier(len(actions))

    def run(index: int, action: Callable[[], Any]) -> None:
        start.wait()
        try:
            results[index] = action()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


@pytest.mark.parametrize("kind", [Everything, Reading])
@pytest.mark.filterwarnings("ignore:Reading cannot be captured")
def test_two_trainings_at_once_have_the_results_of_each_alone(kind: type[nn.Module]) -> None:
    expected = [_trained(_trainer(kind, seed)) for seed in (1, 2)]
    trainers = [_trainer(kind, seed) for seed in (1, 2)]
    before = torch.get_rng_state()
    found = _together(*(lambda trainer=trainer: _trained(trainer) for trainer in trainers))
    assert torch.equal(torch.get_rng_state(), before)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
    if kind is Everything:
        assert all(trainer.program is not None for trainer in trainers)


def test_several_trainers_predict_with_one_model_at_once() -> None:
    model = Everything()
    trainers = [Trainer(model, progress=False) for _ in range(3)]
    expected = trainers[0].predict(_data()[0])
    found = _together(*(lambda t=t: [t.predict(_data()[0]) for _ in range(5)] for t in trainers))
    assert all(torch.equal(one, expected) for several in found for one in several)
    assert all(module.training for module in model.modules())


class Waits:
    """A logger that calls a function after the first epoch."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.action = action

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None: ...
    def on_step(self, event: Any) -> None: ...
    def on_epoch(self, row: Any) -> None:
        self.action()

    def on_fit_end(self) -> None: ...


@pytest.mark.parametrize("what", ["fit", "evaluate", "predict"])
def test_a_model_in_training_is_refused_to_a_trainer_in_another_thread(what: str) -> None:
    model, found = Everything(), []
    other = Trainer(model, progress=False)
    calls = {
        "fit": lambda: other.fit(_data(), epochs=1, batch_size=8),
        "evaluate": lambda: other.evaluate(_data()),
        "predict": lambda: other.predict(_data()[0]),
    }
    logger = Waits(lambda: found.extend(_together(calls[what])))
    Trainer(model, SGD(lr=0.01), progress=False, loggers=[logger]).fit(
        _data(), epochs=1, batch_size=8
    )
    assert isinstance(found[0], RuntimeError)
    assert "the model is being trained by another trainer" in str(found[0])
    calls[what]()


def test_a_logger_may_predict_with_another_trainer() -> None:
    model, found = Everything(), []
    other = Trainer(model, progress=False)

    def compare() -> None:
        plain = copy.deepcopy(model).eval()
        found.append((other.predict(_data()[0]), plain(_data()[0]).detach()))

    trainer = Trainer(model, SGD(lr=0.01), progress=False, loggers=[Waits(compare)])
    trainer.fit(_data(), epochs=2, batch_size=8)
    assert len(found) == 2
    for ours, theirs in found:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found[0][0], found[1][0])


def test_a_trainer_belongs_to_one_thread_at_a_time() -> None:
    found: list[Any] = []
    logger = Waits(lambda: found.extend(_together(lambda: trainer.predict(_data()[0]))))
    trainer = _trainer(Everything, 0, loggers=[logger])
    trainer.fit(_data(), epochs=1, batch_size=8)
    assert "the trainer is busy" in str(found[0])
