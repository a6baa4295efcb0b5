"""Trainers can be copied and pickled, before and after a training."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from proprelu import SGD, Trainer
from proprelu.train import TensorBoard
from rich.console import Console
from torch import nn
from world import Everything


def _data() -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, 8, 8, generator=generator), torch.arange(16) % 5


def _trainer(**settings: Any) -> Trainer:
    torch.manual_seed(0)
    return Trainer(Everything(), **{"optimizer": SGD(lr=0.01), "progress": False, **settings})


COPIES: dict[str, Callable[[Trainer], Trainer]] = {
    "pickle": lambda trainer: pickle.loads(pickle.dumps(trainer)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("fitted", [False, True])
def test_a_copy_goes_on_as_the_original_does(way: str, fitted: bool) -> None:
    trainer = _trainer(ema_decay=0.5, progress=True, teacher=nn.Sequential(Everything()))
    if fitted:
        trainer.fit(_data(), epochs=1, batch_size=8)
        trainer.predict(_data()[0])
    before = copy.deepcopy(trainer.model.state_dict())
    other = COPIES[way](trainer)
    assert list(other.history) == list(trainer.history)
    assert torch.equal(other.predict(_data()[0]), trainer.predict(_data()[0]))
    other.fit(_data(), epochs=1, batch_size=8)
    assert all(torch.equal(before[name], t) for name, t in trainer.model.state_dict().items())
    trainer.fit(_data(), epochs=1, batch_size=8)
    ours, theirs = trainer.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(other.predict(_data()[0]), trainer.predict(_data()[0]))


@pytest.mark.parametrize("way", COPIES)
def test_a_copied_optimizer_is_over_the_copied_parameters(way: str) -> None:
    model = Everything()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    other = COPIES[way](Trainer(model, optimizer, progress=False))
    other.fit(_data(), epochs=1, batch_size=8)
    assert not torch.equal(other.model.fc.weight, model.fc.weight)


class Locked:
    """A logger that holds a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None: ...
    def on_step(self, event: Any) -> None: ...
    def on_epoch(self, row: Any) -> None: ...
    def on_fit_end(self) -> None: ...


@pytest.mark.parametrize("way", COPIES)
def test_a_logger_that_cannot_be_copied_is_left_out(way: str) -> None:
    trainer = _trainer(loggers=[Locked()])
    with pytest.warns(UserWarning, match="Locked is left out of the copy"):
        other = COPIES[way](trainer)
    other.fit(_data(), epochs=1, batch_size=8)
    assert len(trainer._loggers) == 1


@pytest.mark.parametrize("way", COPIES)
def test_our_own_loggers_are_copied(way: str, tmp_path: Any) -> None:
    pytest.importorskip("tensorboard")
    trainer = _trainer(progress=True, loggers=[TensorBoard(tmp_path)])
    trainer._loggers[0]._console = Console(stderr=True)
    trainer.fit(_data(), epochs=1, batch_size=8)
    other = COPIES[way](trainer)
    assert len(other._loggers) == 3
    other.fit(_data(), epochs=1, batch_size=8)


def test_a_trainer_is_pickled_during_its_training() -> None:
    class Saves(Locked):
        def on_epoch(self, row: Any) -> None:
            with pytest.warns(UserWarning, match="left out"):
                saved.append(pickle.dumps(trainer))

    saved: list[bytes] = []
    trainer = _trainer(progress=True, loggers=[Saves()])
    trainer.fit(_data(), epochs=1, batch_size=8)
    other = pickle.loads(saved[0])
    ours, theirs = trainer.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    other.fit(_data(), epochs=1, batch_size=8)
