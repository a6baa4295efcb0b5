"""A training on a GPU matches the CPU, up to the rounding of sums."""

import copy
import math
from collections.abc import Callable
from typing import Any

import proprelu
import pytest
import torch
from proprelu import SGD, AdamW, Augment, OneCycle, Trainer
from proprelu.train import Logger
from proprelu.train.device.device import Device
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

Gpu = Callable[[], Device]
CLASSES = 5


class Block(nn.Module):
    """Convolutions, batch norms, a residual and an activation in several combinations."""

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, affine=False)
        self.act = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        return self.act(y + x)


def _model(channels: int = 3, activation: nn.Module | None = None, dropout: float = 0) -> nn.Module:
    torch.manual_seed(3)
    activation = activation or nn.ReLU()
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, stride=2, bias=False),
        nn.BatchNorm2d(6),
        activation,
        Block(6, activation),
        nn.Conv2d(6, 7, 1),
        nn.Dropout(dropout),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(7, CLASSES),
    )


def _data(count: int = 41, channels: int = 3, is_float: bool = False) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, 9, 7, channels), generator=generator)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    array = images.float().div(255) if is_float else images.to(torch.uint8)
    return array.numpy(), labels.numpy()


def _fit(model: nn.Module, device: Any, data: Any = None, **options: Any) -> Trainer:
    settings = {"optimizer": SGD(lr=0.1), "seed": 4, "autotune": False, "progress": False}
    fit = {"epochs": 2, "batch_size": 10, "val": _data(13)}
    for name, value in options.items():
        (fit if name in _FIT else settings)[name] = value
    trainer = Trainer(model, device=device, **settings)
    trainer.fit(_data() if data is None else data, **fit)
    return trainer


_FIT = {"epochs", "batch_size", "val", "augment", "checkpoint", "resume", "stream"}


def _same(ours: Trainer, cpu: Trainer, tolerance: float = 1e-5) -> None:
    """Assert equal losses, accuracies, parameters, buffers and averages."""
    if next(ours.model.parameters()).is_cuda:
        # cuDNN sums in another order, and the difference grows during a training.
        tolerance = max(tolerance, 2e-4)
    for mine, other in zip(ours.history, cpu.history, strict=True):
        for name, value in mine.items():
            if value is not None and ("loss" in name or "top" in name):
                assert value == pytest.approx(other[name], rel=tolerance, abs=tolerance), name
    states = [(t.model.state_dict(), t.ema_state_dict()) for t in (ours, cpu)]
    for mine, other in zip(*states, strict=True):
        assert mine.keys() == other.keys()
        for name, tensor in mine.items():
            torch.testing.assert_close(
                tensor.cpu(), other[name], rtol=20 * tolerance, atol=20 * tolerance, msg=name
            )


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": SGD(lr=0.05, momentum=0.0)},
    "nesterov": {"optimizer": SGD(lr=0.05, nesterov=True, weight_decay=1e-3)},
    "adamw": {"optimizer": AdamW(lr=1e-2)},
    "clip": {"clip_grad_norm": 0.1},
    "ema": {"ema_decay": 0.8},
    "one_cycle": {"schedule": OneCycle()},
    "smoothing": {"loss": proprelu.CrossEntropy(0.1)},
    "augment": {"augment": Augment(pad=1, flip=True, cutout=2)},
    "stream": {"stream": True, "augment": Augment(pad=1, flip=True)},
    "low": {"memory": "low"},
}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_matches_the_cpu(gpu: Gpu, name: str) -> None:
    ours, cpu = _model(), _model()
    _same(_fit(ours, gpu(), **OPTIONS[name]), _fit(cpu, "cpu", **OPTIONS[name]))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.2), nn.ReLU6()], ids=str)
def test_other_networks(gpu: Gpu, channels: int, activation: nn.Module) -> None:
    data, val = _data(23, channels), _data(7, channels)
    trainers = [
        _fit(_model(channels, activation), device, data, val=val, batch_size=7)
        for device in (gpu(), "cpu")
    ]
    _same(*trainers)


def test_a_batch_norm_without_running_statistics(gpu: Gpu) -> None:
    trainers = []
    for device in (gpu(), "cpu"):
        model = _model()
        model[1] = nn.BatchNorm2d(6, track_running_stats=False)
        trainers.append(_fit(model, device, val=None))
    _same(*trainers)


def test_float_images_and_loaders(gpu: Gpu) -> None:
    data = _data(is_float=True)
    _same(_fit(_model(), gpu(), data), _fit(_model(), "cpu", data))
    images, labels = (torch.as_tensor(array) for array in data)
    loader = DataLoader(TensorDataset(images.permute(0, 3, 1, 2), labels), 8, drop_last=True)
    trainers = [_fit(_model(), device, loader, val=loader) for device in (gpu(), "cpu")]
    _same(*trainers)


def test_matches_a_plain_loop(gpu: Gpu) -> None:
    images = torch.randn(30, 3, 9, 7)
    labels = torch.randint(0, CLASSES, (30,))
    loader = DataLoader(TensorDataset(images, labels), 6)
    ours, plain = _model(), _model().double()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(3):
        total = 0.0
        for batch, wanted in loader:
            loss = F.cross_entropy(plain(batch.double()), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / len(loader)
        losses.append(total)
    sgd = SGD(lr=0.05, weight_decay=0.0)
    options = {"optimizer": sgd, "schedule": "constant", "val": None, "epochs": 3}
    trainer = _fit(ours, gpu(), loader, **options)
    assert [row["train_loss"] for row in trainer.history] == pytest.approx(losses, abs=1e-4)
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(
            mine.detach().cpu().double(), other.detach(), rtol=1e-3, atol=1e-4
        )


def test_bf16_is_near(gpu: Gpu) -> None:
    options = {"precision": "bf16", "optimizer": SGD(lr=0.02), "epochs": 3}
    ours, cpu = _fit(_model(), gpu(), **options), _fit(_model(), "cpu", **options)
    for mine, other in zip(ours.history, cpu.history, strict=True):
        assert mine["train_loss"] == pytest.approx(other["train_loss"], rel=0.02)


def test_parameter_groups_of_a_torch_optimizer(gpu: Gpu) -> None:
    trainers = []
    for device in (gpu(), "cpu"):
        model = _model()
        first, *rest = model.parameters()
        groups = [{"params": [first], "lr": 0.2}, {"params": rest, "weight_decay": 0.01}]
        optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
        trainers.append(_fit(model, device, optimizer=optimizer))
    _same(*trainers)


class Partial(nn.Module):
    """A network with a frozen parameter and one that the loss does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.body = _model()
        self.body[0].weight.requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def test_parameters_that_are_not_trained_do_not_change(gpu: Gpu) -> None:
    ours, cpu = Partial(), Partial()
    before = copy.deepcopy(ours.state_dict())
    _same(_fit(ours, gpu(), ema_decay=0.5), _fit(cpu, "cpu", ema_decay=0.5))
    for name in ("unused", "body.0.weight"):
        assert torch.equal(ours.state_dict()[name].cpu(), before[name])


class Margin(nn.Module):
    """A loss of the user with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, predictions: Tensor, labels: Tensor) -> Tensor:
        return F.multi_margin_loss(predictions * self.scale, labels)


def test_a_loss_of_the_user(gpu: Gpu) -> None:
    ours, cpu = _fit(_model(), gpu(), loss=Margin()), _fit(_model(), "cpu", loss=Margin())
    _same(ours, cpu)
    assert ours.evaluate(_data(9)) == pytest.approx(cpu.evaluate(_data(9)), rel=1e-4)


class Branching(nn.Module):
    """Cannot be captured, because its forward branches on values."""

    def __init__(self) -> None:
        super().__init__()
        self.body = _model()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x if x.sum() > 0 else -x)
        return out


def test_a_model_that_cannot_be_captured_trains_in_eager(gpu: Gpu) -> None:
    trainers = []
    for device in (gpu(), "cpu"):
        with pytest.warns(UserWarning, match="Branching cannot be captured"):
            trainers.append(_fit(Branching(), device, ema_decay=0.5, clip_grad_norm=0.5))
    _same(*trainers)


def test_dropout_runs(gpu: Gpu) -> None:
    history = _fit(_model(dropout=0.5), gpu(), epochs=3).history
    assert all(math.isfinite(row["train_loss"]) for row in history)


def test_resuming_matches_an_uninterrupted_training(gpu: Gpu, tmp_path: Any) -> None:
    options = {"ema_decay": 0.9, "augment": Augment(flip=True), "optimizer": AdamW(lr=1e-2)}
    whole, half = _model(), _model()
    expected = _fit(whole, gpu(), epochs=4, **options)
    # The schedule spans four epochs, so the first half is stopped instead of run with epochs=2.
    stop = _StopAfter(2)
    with pytest.raises(KeyboardInterrupt):
        _fit(half, gpu(), epochs=4, checkpoint=tmp_path / "c", loggers=[stop], **options)
    other = _model()
    _same(_fit(other, gpu(), epochs=4, resume=tmp_path / "c", **options), expected, 1e-7)
    # The same checkpoint continues on the CPU.
    _same(_fit(_model(), "cpu", epochs=4, resume=tmp_path / "c", **options), expected, 1e-4)


class _StopAfter(Logger):
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def on_epoch(self, row: Any) -> None:
        if row["epoch"] == self._epoch:
            raise KeyboardInterrupt


def test_a_step_that_fails_changes_nothing(gpu: Gpu) -> None:
    images, labels = _data(20, is_float=True)
    images[[0, 7, 13]] = 3e38  # finite, but not after a convolution
    for device in (gpu(), "cpu"):
        model = _model()
        trainer = Trainer(model, SGD(lr=0.1), device=device, progress=False, seed=4)
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(FloatingPointError, match="step 1"):
            trainer.fit(
                (images, labels),
                epochs=1,
                batch_size=20,
                augment=Augment(mean=[0] * 3, std=[1] * 3),
            )
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor.cpu(), before[name]), name


def test_predictions_and_evaluation(gpu: Gpu) -> None:
    ours, cpu = _fit(_model(), gpu(), ema_decay=0.5), _fit(_model(), "cpu", ema_decay=0.5)
    images, labels = _data(33)
    torch.testing.assert_close(ours.predict(images), cpu.predict(images), rtol=1e-4, atol=1e-4)
    for size in (5, 64):
        metrics = ours.evaluate((images, labels), batch_size=size)
        assert metrics == pytest.approx(cpu.evaluate((images, labels)), rel=1e-4)


def test_a_profile_is_only_available_on_a_cpu(gpu: Gpu) -> None:
    with pytest.raises(RuntimeError, match=r"torch\.profiler"):
        _fit(_model(), gpu(), epochs=1).profile()


def test_the_program_is_the_fused_one(gpu: Gpu) -> None:
    program = _fit(_model(), gpu(), precision="bf16").program
    assert program is not None
    for name in ("batch_norm_relu ", "batch_norm_add_relu ", "cross_entropy ", "kept"):
        assert name in program, name
