"""``torch.compile(model, backend="proprelu")``, compared with the eager model."""

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import proprelu
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Clears compiled graphs between tests, and fails if torch has to run a graph."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="torch runs a graph that proprelu cannot")
        yield
    torch._dynamo.reset()


class Residual(nn.Module):
    """A block that contains all fused patterns."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.activation(self.first(x)))
        return self.activation(y + x)


def _network(activation: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    activation = activation or nn.ReLU()
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), activation)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    model = nn.Sequential(stem, Residual(activation), nn.MaxPool2d(2), head)
    return model.to(memory_format=torch.channels_last)


def _batch(count: int = 6) -> tuple[Tensor, Tensor]:
    images = torch.randn(count, 3, 15, 13).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(5, (count,))


def _step(model: Callable[[Tensor], Tensor], batch: tuple[Tensor, Tensor], bf16: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        predictions = model(batch[0])
    if bf16:
        predictions = predictions.float()
    loss = F.cross_entropy(predictions, batch[1])
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="proprelu")


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1), nn.ReLU6()], ids=str)
def test_a_step_as_eager(activation: nn.Module, bf16: bool) -> None:
    ours = _network(activation)
    exact = copy.deepcopy(ours).double()
    images, labels = _batch()
    expected = _step(exact, (images.double(), labels), False)
    loss = _step(_compiled(ours), (images, labels), bf16)
    tolerance = 2e-2 if bf16 else 1e-5
    torch.testing.assert_close(loss.double(), expected, rtol=tolerance, atol=tolerance)
    for (name, mine), theirs in zip(ours.named_parameters(), exact.parameters(), strict=True):
        assert mine.grad is not None, name
        assert theirs.grad is not None, name
        # The gradient of a bias before a batch norm consists of rounding errors only.
        error = (mine.grad - theirs.grad).norm() / theirs.grad.norm().clamp_min(1e-2)
        assert error < (0.15 if bf16 else 1e-4), f"{name}: {error}"
    for (name, mine), theirs in zip(ours.named_buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(
            mine.double(),
            theirs.double(),
            rtol=1e-2 if bf16 else 1e-5,
            atol=1e-2 if bf16 else 1e-6,
            msg=name,
        )


def test_training_in_a_custom_loop() -> None:
    ours, theirs = _network(), _network()
    compiled = _compiled(ours)
    batches = [_batch() for _ in range(6)]
    for model, run in ((ours, compiled), (theirs, theirs)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for batch in batches:
            optimizer.zero_grad()
            _step(run, batch, False)
            optimizer.step()
    for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_two_forwards_before_their_backwards() -> None:
    """The second forward does not overwrite values that the first backward needs."""
    ours, theirs = _network(), _network()
    first, second = _batch(), _batch()
    for run in (_compiled(ours), theirs):
        a, b = (F.cross_entropy(run(images), labels) for images, labels in (first, second))
        (a + 2 * b).backward()  # type: ignore[no-untyped-call]
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_inference_and_what_was_given_before() -> None:
    model = _network().eval()
    compiled = _compiled(model)
    (first, _), (second, _) = _batch(), _batch()
    with torch.no_grad():
        a = compiled(first)
        kept = a.clone()
        b = compiled(second)
        torch.testing.assert_close(a, model(first), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(b, model(second), rtol=1e-4, atol=1e-5)
    assert torch.equal(a, kept)


def test_gradients_of_the_images_and_frozen_parameters() -> None:
    ours, theirs = _network(), _network()
    images, labels = _batch()
    leaves = []
    for model, run in ((ours, _compiled(ours)), (theirs, theirs)):
        model[0].requires_grad_(False)
        leaf = images.clone().requires_grad_()
        _step(run, (leaf, labels), False)
        leaves.append(leaf)
        assert model[0][0].weight.grad is None
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet20", "vgg11"])
def test_our_models_at_another_ratio(name: str) -> None:
    torch.manual_seed(0)
    ours = proprelu.models.create(name, ratio="2:1").to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    images = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    for run in (_compiled(ours), theirs):
        torch.manual_seed(1)
        run(images).square().sum().backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        error = (mine.grad - other.grad).norm() / other.grad.norm().clamp_min(1e-3)
        assert error < 2e-2


def test_torch_runs_unsupported_graphs() -> None:
    model = _network().eval()
    compiled = torch.compile(model, backend="proprelu", dynamic=True)
    images, _ = _batch()
    with torch.no_grad(), pytest.warns(UserWarning, match="torch runs a graph.*dynamic=False"):
        torch.testing.assert_close(compiled(images), model(images))


@pytest.fixture
def _two_precisions() -> Iterator[None]:
    """Two precisions of cuDNN, after which torch refuses to say whether TF32 is allowed."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.rnn.fp32_precision
    cudnn.rnn.fp32_precision = "ieee"
    yield
    assert cudnn.rnn.fp32_precision == "ieee"
    cudnn.rnn.fp32_precision = before


@pytest.mark.usefixtures("_two_precisions")
@pytest.mark.parametrize("enabled", [False, True])
def test_switches_of_cudnn_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, enabled: bool) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "enabled", enabled)
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(torch.compile(model, backend="proprelu")(x), model(x))
    assert torch.backends.cudnn.enabled == enabled
