"""A training continues from a checkpoint, on any device."""

from pathlib import Path
from typing import Any

import proprelu
import pytest
import torch
from cuda_trainings import (
    arrays,
    assert_close,
    assert_same,
    losses,
    measures,
    network,
    trainer,
)
from proprelu import SGD, AdamW, Augment, Trainer
from proprelu.train.device.device import Device
from torch import nn

SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": SGD(lr=0.05, nesterov=True), "ema_decay": 0.7, "clip_grad_norm": 0.5},
    "adamw": {"optimizer": AdamW(lr=0.01), "schedule": proprelu.OneCycle()},
    "bf16": {"optimizer": AdamW(lr=0.01), "precision": "bf16"},
}


def _model(seed: int, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()]
    return network(*layers, nn.Dropout(dropout), width=6)


class StopError(Exception):
    pass


class Stop:
    """Ends a training of four epochs after the second."""

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None: ...
    def on_step(self, event: Any) -> None: ...
    def on_fit_end(self) -> None: ...
    def on_epoch(self, row: Any) -> None:
        if row["epoch"] == 2:
            raise StopError


def _fit(model: nn.Module, device: Device | str, case: str, fit: Any, **settings: Any) -> Trainer:
    training = trainer(model, device, **{**SETTINGS[case], **settings})
    data, val = arrays(20), arrays(11, seed=1)
    training.fit(data, val, epochs=4, batch_size=9, augment=Augment(pad=1, flip=True), **fit)
    return training


def _first_half(model: nn.Module, device: Device | str, case: str, path: Path) -> None:
    """Train two epochs and write a checkpoint."""
    with pytest.raises(StopError):
        _fit(model, device, case, {"checkpoint": path}, loggers=[Stop()])


@pytest.mark.parametrize("case", SETTINGS)
def test_two_halves_match_a_whole_training(device: Device, case: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    whole, resumed = _model(0), _model(1)
    expected = _fit(whole, device, case, {})
    _first_half(_model(0), device, case, path)
    training = _fit(resumed, device, case, {"resume": path})
    assert_same(resumed.state_dict(), whole.state_dict(), device)
    assert_same(training.ema_state_dict(), expected.ema_state_dict(), device)
    if device.device.type == "cpu":
        assert measures(training) == measures(expected)
    assert losses(training) == pytest.approx(losses(expected), rel=1e-3)


@pytest.mark.parametrize("case", ["sgd", "adamw"])
@pytest.mark.parametrize("way", ["from", "to"])
def test_a_checkpoint_moves_to_the_cpu_and_back(
    device: Device, way: str, case: str, tmp_path: Path
) -> None:
    """Without dropout, because each device draws its own masks."""
    path = tmp_path / "a.ckpt"
    first, second = (device, "cpu") if way == "to" else ("cpu", device)
    whole, resumed = _model(0, dropout=0.0), _model(1, dropout=0.0)
    expected = _fit(whole, "cpu", case, {})
    _first_half(_model(0, dropout=0.0), first, case, path)
    training = _fit(resumed, second, case, {"resume": path})
    assert_close(resumed.state_dict(), whole.state_dict())
    assert_close(training.ema_state_dict(), expected.ema_state_dict())
    for ours, theirs in zip(measures(training), measures(expected), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
