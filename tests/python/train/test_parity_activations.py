"""Batch norm with LeakyReLU or ReLU6 trains as in plain PyTorch."""

import copy

import proprelu
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 4


class Block(nn.Module):
    """Every place that an activation can have behind a batch norm, and none."""

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
        # So that a maximum of six is reached, and missed.
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


def _batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(STEPS, 8, 3, 9, 10, generator=generator)
    labels = torch.randint(10, (STEPS, 8), generator=generator)
    return list(zip(images, labels, strict=True))


def _plain(model: nn.Module, lr: float, bf16: bool) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    dtype = next(model.parameters()).dtype
    model.train().to(memory_format=torch.channels_last)
    losses = []
    for images, labels in _batches():
        images = images.to(dtype, memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            predictions = model(images)
        loss = F.cross_entropy(predictions.to(dtype), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _trained(model: nn.Module, lr: float, precision: str) -> tuple[list[float], str]:
    trainer = proprelu.Trainer(
        model, torch.optim.SGD(model.parameters(), lr=lr), precision=precision, progress=False
    )
    losses = [trainer.fit([batch], epochs=1)[-1]["train_loss"] for batch in _batches()]
    assert trainer.program is not None
    return losses, trainer.program


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_is_as_good_as_torch(name: str) -> None:
    torch.manual_seed(1)
    model = Block(ACTIVATIONS[name])
    exact = copy.deepcopy(model).double()
    expected = _plain(exact, 0.02, bf16=False)
    losses, program = _trained(model, 0.02, "fp32")
    assert losses == pytest.approx(expected, rel=1e-4)
    for (key, ours), theirs in zip(
        model.state_dict().items(), exact.state_dict().values(), strict=True
    ):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6, key
    _check_fused(program, name.removesuffix("_inplace"))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_bf16_is_as_good_as_autocast(name: str) -> None:
    torch.manual_seed(2)
    model = Block(ACTIVATIONS[name])
    exact, autocast = copy.deepcopy(model).double(), copy.deepcopy(model)
    expected = _plain(exact, 0.02, bf16=False)
    theirs = _plain(autocast, 0.02, bf16=True)
    losses, program = _trained(model, 0.02, "bf16")
    spread = max(abs(x / y - 1) for x, y in zip(theirs, expected, strict=True))
    assert losses == pytest.approx(expected, rel=max(0.01, 2 * spread))
    for key, value in exact.state_dict().items():
        error = (model.state_dict()[key] - value).norm()
        assert error <= 2 * (autocast.state_dict()[key] - value).norm() + 2e-3 * value.norm(), key
    _check_fused(program, name.removesuffix("_inplace"))


def _check_fused(program: str, name: str) -> None:
    """Nothing of the activations is left to torch, nor of the batch norms."""
    assert program.count(f"batch_norm_{name}(") == 3
    assert program.count(f"batch_norm_add_{name}(") == 1
    assert program.count(f"batch_norm_{name}_backward(") == 4
    for left in ("aten::relu", "leaky_relu_", "hardtanh", "threshold", "native_batch_norm"):
        assert f"{left}" not in program.replace("leaky_relu_backward(", ""), left
    assert "aten::leaky_relu" not in program
    assert "aten::clone" not in program


def test_batch_norm_alone() -> None:
    torch.manual_seed(3)
    model = Block(nn.Identity())
    exact = copy.deepcopy(model).double()
    expected = _plain(exact, 0.02, bf16=False)
    losses, program = _trained(model, 0.02, "fp32")
    assert losses == pytest.approx(expected, rel=1e-4)
    assert program.count("batch_norm(") == 3
    assert program.count("batch_norm_add(") == 1
    assert program.count("batch_norm_backward(") == 4
