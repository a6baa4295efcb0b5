"""Distillation on a GPU matches the CPU."""

import copy
from typing import Any

import pytest
import torch
from cuda_trainings import CLASSES, arrays, assert_close, losses, network, small, trainer
from proprelu import Distill
from proprelu.train.device.device import Device
from torch import Tensor, nn


def _teacher() -> nn.Sequential:
    torch.manual_seed(5)
    return network(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), width=8)


class Uncapturable(nn.Module):
    """Cannot be captured, because its forward reads the values of a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y if x.sum() > -1e9 else -y


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_matches_the_cpu(device: Device, precision: str, eager: bool) -> None:
    start, teacher = small(), _teacher()
    settings: dict[str, Any] = {"precision": precision, "ema_decay": 0.9}
    results = []
    for place in (device, "cpu"):
        model = copy.deepcopy(start)
        lesson = Uncapturable(teacher) if eager else teacher
        distill = Distill(temperature=2, weight=0.7)
        training = trainer(model, place, teacher=lesson, distill=distill, **settings)
        training.fit(arrays(), arrays(16, seed=1), epochs=3, batch_size=8)
        assert (training.program is None) is eager
        results.append((losses(training), model.cpu().state_dict()))
    (ours, own), (theirs, other) = results
    tolerance = 1e-4 if precision == "fp32" else 0.02
    assert ours == pytest.approx(theirs, rel=tolerance)
    assert_close(own, other, tolerance)
    assert own["5.bias"].shape == (CLASSES,)


def test_a_teacher_on_another_device(device: Device) -> None:
    """The teacher stays there, because a copy runs."""
    teacher = _teacher().to(device.device)
    training = trainer(small(), "cpu", teacher=teacher)
    training.fit(arrays(), epochs=1, batch_size=8)
    assert all(p.device.type == device.device.type for p in teacher.parameters())
