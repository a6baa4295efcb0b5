"""Batch norms are folded into convolutions in evaluation; the output matches PyTorch."""

import copy

import proprelu
import pytest
import torch
from proprelu._core import EngineRunner
from proprelu.graph.fallback import call_operation
from proprelu.graph.joint import capture_inference
from torch import Tensor, nn

ALGORITHMS = ["auto", "direct", "winograd", "torch"]


class Network(nn.Module):
    """Batch norms after convolutions of all kinds, and one without a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.stem = nn.Sequential(nn.Conv2d(3, 40, 3, padding=1), nn.BatchNorm2d(40), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(40, 40, 3, padding=1, bias=False),
            nn.BatchNorm2d(40, affine=False),
            nn.LeakyReLU(0.1),
            nn.Conv2d(40, 40, 3, padding=1, groups=40),
            nn.BatchNorm2d(40),
            nn.ReLU6(),
            nn.Conv2d(40, 40, 1, bias=False),
            nn.BatchNorm2d(40),
        )
        self.grouped = nn.Sequential(
            nn.Conv2d(40, 24, 5, stride=2, groups=4), nn.BatchNorm2d(24), nn.LeakyReLU(0.2)
        )
        self.fc = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.norm(x))
        x = torch.relu(self.block(x) + x)
        return self.fc(self.grouped(x).mean((2, 3)))


def _network() -> Network:
    """A network with statistics that differ from the initial ones."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = Network()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight, module.bias):
                if tensor is not None:
                    tensor.data.copy_(torch.randn(tensor.shape, generator=generator))
            module.running_var.copy_(
                torch.rand(module.running_var.shape, generator=generator) + 0.1
            )
    return model


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predictions_match_torch(algorithm: str, precision: str) -> None:
    model = _network()
    images = torch.randn(5, 3, 13, 11)
    expected = copy.deepcopy(model).double().eval()(images.double())
    trainer = proprelu.Trainer(model, precision=precision, conv_algorithm=algorithm, progress=False)
    error = (trainer.predict(images).double() - expected).norm() / expected.norm()
    assert error < (1e-5 if precision == "fp32" else 2e-2)


def test_every_batch_norm_after_a_convolution_is_folded() -> None:
    images = torch.randn(2, 3, 13, 11).to(memory_format=torch.channels_last)
    capture = capture_inference(_network().eval(), images)
    constants = list(capture.constants.items())
    runner = EngineRunner(None, capture.graph, constants, None, call_operation)
    names = [line.split()[1] for line in (runner.inference_listing() or "").splitlines()[1:]]
    assert [name for name in names if "norm" in name] == [
        "batch_norm_apply",
        "convolution_batch_norm_relu",
        "convolution_batch_norm_leaky_relu",
        "convolution_batch_norm_relu6",
        "convolution_batch_norm_add_relu",
        "convolution_batch_norm_leaky_relu",
    ]
    assert "aten::relu" not in names


def test_changed_statistics_take_effect() -> None:
    model = _network()
    trainer = proprelu.Trainer(model, progress=False)
    images = torch.randn(4, 3, 13, 11)
    before = trainer.predict(images)
    with torch.no_grad():
        model.stem[1].running_mean.add_(1.0)
    after = trainer.predict(images)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, model.eval()(images), rtol=1e-4, atol=1e-4)


def test_a_frozen_batch_norm_trains_what_is_before_it() -> None:
    torch.manual_seed(0)
    model = _network()
    exact = copy.deepcopy(model).double()

    class Frozen(Network):
        def train(self, mode: bool = True) -> "Frozen":
            super().train(mode)
            self.norm.eval()
            self.block[7].eval()
            return self

    model.__class__ = exact.__class__ = Frozen
    data = torch.utils.data.TensorDataset(torch.randn(12, 3, 13, 11), torch.randint(7, (12,)))
    loader = torch.utils.data.DataLoader(data, batch_size=6)
    optimizer = torch.optim.SGD(exact.parameters(), lr=0.01)
    exact.train()
    for images, labels in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(exact(images.double()), labels).backward()
        optimizer.step()
    trainer = proprelu.Trainer(
        model,
        torch.optim.SGD(model.parameters(), lr=0.01),
        schedule="constant",
        progress=False,
    )
    trainer.fit(loader, epochs=1)
    for name, value in exact.state_dict().items():
        error = (model.state_dict()[name].double() - value.double()).norm()
        assert error <= 1e-4 * value.double().norm() + 1e-6, name
