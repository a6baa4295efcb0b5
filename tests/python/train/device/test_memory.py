"""`memory="low"` computes the same results in less memory."""

import copy
import re

import proprelu
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Network(nn.Module):
    """Residual blocks with batch norms that are read by all kinds of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.first = self._branch()
        self.second = self._branch()
        self.depthwise = nn.Sequential(
            nn.BatchNorm2d(12), nn.ReLU6(), nn.Conv2d(12, 12, 3, groups=12), nn.BatchNorm2d(12)
        )
        self.fc = nn.Linear(12, 10)

    def _branch(self) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(12, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.first(x))
        x = torch.relu(x + self.second(x))
        x = nn.functional.leaky_relu(self.depthwise(x), 0.1)
        return self.fc(nn.functional.max_pool2d(x, 2).mean((2, 3)))


def _trained(model: nn.Module, memory: str, precision: str) -> proprelu.Trainer:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 3, 16, 16, generator=generator)
    data = TensorDataset(images, torch.randint(10, (64,), generator=generator))
    trainer = proprelu.Trainer(
        model, proprelu.SGD(0.05), precision=precision, memory=memory, progress=False
    )
    trainer.fit(DataLoader(data, batch_size=16), epochs=2)
    return trainer


def _planned(trainer: proprelu.Trainer) -> float:
    match = re.match(r"\d+ operations, ([\d.]+) MB planned memory", trainer.program or "")
    assert match
    return float(match[1])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_low_memory_gives_the_same_bits(precision: str) -> None:
    torch.manual_seed(0)
    model = Network()
    other = copy.deepcopy(model)
    normal, low = _trained(model, "normal", precision), _trained(other, "low", precision)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert _planned(low) < 0.95 * _planned(normal)
    assert "batch_norm_apply" in (low.program or "")
    assert "batch_norm_apply" not in (normal.program or "")


def test_low_memory_is_the_default_on_a_cpu() -> None:
    auto, low = _trained(Network(), "auto", "bf16"), _trained(Network(), "low", "bf16")
    assert _planned(auto) == _planned(low)


def test_an_unknown_memory_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"memory must be one of 'auto', 'normal', 'low'.*got 'none'"
    ):
        proprelu.Trainer(nn.Linear(2, 2), memory="none")
