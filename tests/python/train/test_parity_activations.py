"""Batch norm with LeakyReLU or ReLU6 matches plain PyTorch."""

import copy
import re
from collections import Counter

import proprelu
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

STEPS = 4
LR = 0.02


class Block(nn.Module):
    """An activation at every possible place after a batch norm, and a batch norm without one."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 20, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(20)
        self.conv2 = nn.Conv2d(20, 20, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(20)
        self.conv3 = nn.Conv2d(20, 192, 1, stride=2, bias=False)
        self.bn3 = nn.BatchNorm2d(192)
        self.bn4 = nn.BatchNorm2d(192, affine=False)
        self.activation = activation
        self.fc = nn.Linear(192, 10)
        # Some values exceed the maximum of ReLU6 and some do not.
        nn.init.constant_(self.bn1.weight, 4.0)
        nn.init.normal_(self.bn2.bias, 2.0)
        nn.init.constant_(self.bn3.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.bn1(self.conv1(x)))
        x = self.activation(self.bn2(self.conv2(x)) + x)
        x = self.bn4(self.activation(self.bn3(self.conv3(x))))
        return self.fc(self.activation(x).mean((2, 3)))


ACTIVATIONS = {
    "leaky_relu": nn.LeakyReLU(0.1),
    "leaky_relu_inplace": nn.LeakyReLU(0.1, inplace=True),
    "relu6": nn.ReLU6(),
    "relu6_inplace": nn.ReLU6(inplace=True),
    "relu_inplace": nn.ReLU(inplace=True),
}


def _loader() -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(STEPS * 8, 3, 9, 10, generator=generator)
    labels = torch.randint(10, (STEPS * 8,), generator=generator)
    return DataLoader(TensorDataset(images, labels), batch_size=8)


def _plain(model: nn.Module, bf16: bool = False) -> float:
    """Train one epoch in PyTorch; returns its mean loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    dtype = next(model.parameters()).dtype
    model.train().to(memory_format=torch.channels_last)
    total = 0.0
    for images, labels in _loader():
        images = images.to(dtype, memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            predictions = model(images)
        loss = F.cross_entropy(predictions.to(dtype), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() / STEPS
    return total


def _trained(model: nn.Module, precision: str = "fp32") -> tuple[float, str]:
    """Train one epoch here; returns its mean loss and the program."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    trainer = proprelu.Trainer(
        model, optimizer, schedule="constant", precision=precision, progress=False
    )
    history = trainer.fit(_loader(), epochs=1)
    assert trainer.program is not None
    return next(iter(history))["train_loss"], trainer.program


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_is_as_good_as_torch(name: str) -> None:
    torch.manual_seed(1)
    model = Block(ACTIVATIONS[name])
    exact = copy.deepcopy(model).double()
    expected = _plain(exact)
    loss, program = _trained(model)
    assert loss == pytest.approx(expected, rel=1e-4)
    _check_state(model, exact)
    _check_fused(program, name.removesuffix("_inplace"))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_bf16_is_as_good_as_autocast(name: str) -> None:
    torch.manual_seed(2)
    model = Block(ACTIVATIONS[name])
    exact, autocast = copy.deepcopy(model).double(), copy.deepcopy(model)
    expected, theirs = _plain(exact), _plain(autocast, bf16=True)
    loss, program = _trained(model, "bf16")
    assert abs(loss - expected) <= 2 * abs(theirs - expected) + 0.01 * expected
    for key, value in exact.state_dict().items():
        error = _distance(model, key, value)
        allowed = 2 * _distance(autocast, key, value) + 2e-3 * value.double().norm()
        assert error <= allowed, key
    _check_fused(program, name.removesuffix("_inplace"))


def test_batch_norm_alone() -> None:
    torch.manual_seed(3)
    model = Block(nn.Identity())
    exact = copy.deepcopy(model).double()
    expected = _plain(exact)
    loss, program = _trained(model)
    assert loss == pytest.approx(expected, rel=1e-4)
    _check_state(model, exact)
    names = _names(program)
    assert [names["batch_norm"], names["batch_norm_add"], names["batch_norm_backward"]] == [3, 1, 4]


def _distance(model: nn.Module, key: str, value: Tensor) -> Tensor:
    return (model.state_dict()[key].double() - value.double()).norm()


def _check_state(model: nn.Module, exact: nn.Module) -> None:
    for key, value in exact.state_dict().items():
        error = _distance(model, key, value)
        assert error <= 1e-4 * value.double().norm() + 1e-6, key


def _check_fused(program: str, name: str) -> None:
    """The program leaves neither activations nor batch norms to torch."""
    names = _names(program)
    assert names[f"batch_norm_{name}"] == 3
    assert names[f"batch_norm_add_{name}"] == 1
    assert names[f"batch_norm_{name}_backward"] == 4
    left = {"relu", "leaky_relu", "hardtanh", "threshold", "batch_norm", "clone"}
    torchs = [called for called in names if called.startswith("aten::")]
    assert not [called for called in torchs if any(part in called for part in left)]


def _names(program: str) -> Counter[str]:
    """The number of each operation in a listing."""
    return Counter(re.findall(r"^ *\d+  ([\w:.]+)", program, re.MULTILINE))
