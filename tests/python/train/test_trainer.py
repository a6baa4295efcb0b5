"""A `Trainer` changes a model like a plain PyTorch loop, and changes nothing else."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import proprelu
import pytest
import torch
from proprelu import SGD, AdamW, CrossEntropy, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

Batch = tuple[Tensor, Tensor]


def _batches(steps: int = 4, size: int = 8, batch: int = 8, seed: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(steps, batch, 3, size, size, generator=generator)
    labels = torch.randint(0, 5, (steps, batch), generator=generator)
    return list(zip(images, labels, strict=True))


def _loader(batches: list[Batch]) -> DataLoader[Any]:
    images = torch.cat([images for images, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    return DataLoader(TensorDataset(images, labels), len(batches[0][0]))


def _model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def _train(model: nn.Module, optimizer: Any, batches: list[Batch], **settings: Any) -> Trainer:
    fit: dict[str, Any] = {"epochs": settings.pop("epochs", 1)}
    fit |= {key: settings.pop(key, None) for key in ("val", "checkpoint", "resume")}
    trainer = Trainer(model, optimizer, schedule="constant", progress=False, **settings)
    trainer.fit(_loader(batches), **fit)
    return trainer


def _plain(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: list[Batch],
    loss: Callable[[Any, Tensor], Tensor] = F.cross_entropy,
    after: Callable[[], Any] = lambda: None,
    before: Callable[[], Any] = lambda: None,
) -> None:
    model.train()
    for images, labels in batches:
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        before()
        optimizer.step()
        after()


def _close(ours: nn.Module, theirs: nn.Module, rtol: float = 1e-4, atol: float = 2e-6) -> None:
    expected = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=rtol, atol=atol, msg=name)


def test_the_model_works_in_plain_pytorch_afterwards() -> None:
    model = _model().eval()
    model[2].train()
    before = dict(model.named_parameters())
    modes = [module.training for module in model.modules()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = _train(model, optimizer, _batches(), val=_loader(_batches(2)))
    after = dict(model.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert all(p.is_contiguous() and p.is_leaf and p.grad is None for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert [module.training for module in model.modules()] == modes
    assert trainer.program is not None
    # A plain loop continues where the trainer ended.
    twin = copy.deepcopy(model)
    _plain(model, optimizer, _batches(2))
    _plain(twin, torch.optim.SGD(twin.parameters(), lr=0.1), _batches(2))
    _close(model, twin)


def test_a_model_in_channels_last_keeps_its_layout() -> None:
    model = _model().to(memory_format=torch.channels_last)
    _train(model, "sgd", _batches())
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


class TwoHeads(nn.Module):
    """One head is not used, one layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.fc = nn.Linear(4, 5)
        self.unused = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(self.frozen(self.conv(x).relu()).relu().mean((2, 3)))
        return y


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_frozen_and_unused_parameters_do_not_change(ema_decay: float | None) -> None:
    torch.manual_seed(0)
    model = TwoHeads()
    before = copy.deepcopy(model)
    twin = copy.deepcopy(model)
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    trainer = _train(model, SGD(**settings), _batches(), ema_decay=ema_decay)
    _plain(twin, torch.optim.SGD(twin.parameters(), **settings), _batches())
    _close(model, twin)
    for name in ("frozen.weight", "unused.weight", "unused.bias"):
        assert torch.equal(model.state_dict()[name], before.state_dict()[name])
    assert not model.frozen.weight.requires_grad
    assert model.unused.weight.requires_grad
    assert trainer.program is not None


class Uncapturable(nn.Module):
    """Cannot be captured, because its forward reads the values of a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y if x.sum() > -1e9 else -y


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_that_cannot_be_captured_trains_too(precision: str) -> None:
    captured, eager = _model(), Uncapturable(_model())
    val = _loader(_batches(2, seed=1))
    settings = {"precision": precision, "clip_grad_norm": 1.0, "ema_decay": 0.9, "val": val}
    first = _train(captured, SGD(lr=0.05), _batches(), **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        second = _train(eager, SGD(lr=0.05), _batches(), **settings)
    (warning,) = caught
    assert "Uncapturable cannot be captured as one program" in str(warning.message)
    assert "DataDependent" in str(warning.message) or "data-dependent" in str(warning.message)
    assert "\n" not in str(warning.message)
    assert warning.filename.endswith("test_trainer.py")
    assert second.program is None
    tolerance = {"rtol": 1e-4, "atol": 2e-6} if precision == "fp32" else {"rtol": 0.1, "atol": 0.01}
    _close(eager.model, captured, **tolerance)
    for key in ("train_loss", "val_loss"):
        rel = 1e-4 if precision == "fp32" else 0.02
        assert second.history.last[key] == pytest.approx(first.history.last[key], rel=rel)


class Tied(nn.Module):
    """One weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(192, 192)
        self.second = nn.Linear(192, 192)
        self.second.weight = self.first.weight
        self.third = nn.Linear(192, 5)

    def forward(self, x: Tensor) -> Any:
        return self.third(self.second(self.first(x.flatten(1)).relu()))


class Registered(nn.Module):
    """A convolution and its batch norm are registered under a second name, and run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
        self.again = nn.ModuleList([self.body[0], nn.Sequential(self.body[1])])
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.again[1](self.again[0](self.body(x)))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("make", [Tied, Registered])
@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_tensors_with_two_names_train(
    make: Callable[[], nn.Module], ema_decay: float | None, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = make()
    twin, other = copy.deepcopy(model), copy.deepcopy(model)
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}
    ours = SGD(**settings, decay_norm_and_bias=True)
    file = tmp_path / "state"
    trainer = _train(model, ours, _batches(), ema_decay=ema_decay, epochs=2, checkpoint=file)
    assert trainer.program is not None
    _plain(twin, torch.optim.SGD(twin.parameters(), **settings), _batches() * 2)
    _close(model, twin)
    _train(other, ours, _batches(), ema_decay=ema_decay, epochs=2, resume=file)
    _close(other, twin)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_a_model_that_stores_its_inputs(used: bool) -> None:
    """A plain loop leaves the last batch in the attribute, so this one does too."""

    class Storing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = _model()
            self.seen: Tensor | None = None

        def forward(self, x: Tensor) -> Any:
            self.seen = x.relu()
            return self.model(self.seen)

    model = Storing()
    if used:
        model(_batches()[0][0])
    _train(model, "sgd", _batches())
    assert torch.equal(model.seen, _batches()[-1][0].relu())


class Lenet(nn.Module):
    """The classic network that flattens with a view."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(36, 5)

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(self.conv(x).relu(), 2)
        return self.fc(x.view(-1, 36))


@pytest.mark.parametrize("wrap", [nn.Sequential, Uncapturable])
@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_a_model_that_flattens_with_a_view(wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    model = Lenet()
    twin = copy.deepcopy(model)
    trainer = _train(
        wrap(model), SGD(0.1, 0.0, weight_decay=0.0), _batches(), val=_loader(_batches())
    )
    _plain(twin, torch.optim.SGD(twin.parameters(), lr=0.1), _batches())
    _close(model, twin)
    x = _batches()[0][0]
    torch.testing.assert_close(trainer.predict(x), twin(x).detach(), rtol=1e-4, atol=1e-5)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = _model()
        self.extra = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.model(x)
        return y, {"extra": self.extra(y)}


class PairLoss(nn.Module):
    def forward(self, output: Any, labels: Tensor) -> Tensor:
        y, extra = output
        return F.cross_entropy(y, labels) + extra["extra"].square().mean()


def test_a_model_that_returns_a_tuple() -> None:
    model = Pair()
    twin = copy.deepcopy(model)
    val = _batches(2, seed=4)
    trainer = _train(
        model, SGD(0.1, 0.0, weight_decay=0.0), _batches(), loss=PairLoss(), val=_loader(val)
    )
    assert trainer.program is not None
    _plain(twin, torch.optim.SGD(twin.parameters(), lr=0.1), _batches(), PairLoss())
    _close(model, twin)
    twin.eval()
    expected = np.mean([PairLoss()(twin(x), y).item() for x, y in val])
    assert trainer.history.last["val_loss"] == pytest.approx(expected, rel=1e-4)


class ScaledLoss(nn.Module):
    """A loss with a parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("weight", torch.tensor([1.0, 2.0, 1.0, 0.5, 1.0]))

    def forward(self, output: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(output * self.scale, labels, weight=self.weight)


def test_a_loss_with_parameters() -> None:
    model, loss = _model(), ScaledLoss()
    twin, twin_loss = copy.deepcopy(model), copy.deepcopy(loss)
    settings = SGD(lr=0.1, momentum=0.0, weight_decay=0.0)
    trainer = _train(model, settings, _batches(), loss=loss, ema_decay=0.5, val=_loader(_batches()))
    parameters = [*twin.parameters(), *twin_loss.parameters()]
    _plain(twin, torch.optim.SGD(parameters, lr=0.1), _batches(), twin_loss)
    _close(model, twin)
    _close(loss, twin_loss)
    assert trainer.ema_state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(label_smoothing=0.2),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(ignore_index=2),
        nn.MultiMarginLoss(),
    ],
    ids=lambda loss: repr(loss).replace("\n", ""),
)
def test_losses(loss: nn.Module) -> None:
    model, val = _model(), _batches(2, seed=4)
    twin = copy.deepcopy(model)
    trainer = _train(
        model, SGD(0.01, 0.0, weight_decay=0.0), _batches(), loss=loss, val=_loader(val)
    )
    _plain(twin, torch.optim.SGD(twin.parameters(), lr=0.01), _batches(), loss)
    _close(model, twin, atol=1e-5)
    twin.eval()
    expected = [loss(twin(x), y).item() for x, y in val]
    ignored = getattr(loss, "ignore_index", -100)
    weights = [(y != ignored).sum().item() for _, y in val]
    mean = np.average(expected, weights=weights)
    assert trainer.history.last["val_loss"] == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("max_norm", [0.05, 100.0])
def test_clips_gradients_like_torch(max_norm: float) -> None:
    model = _model()
    twin = copy.deepcopy(model)
    _train(model, SGD(0.1, 0.0, weight_decay=0.0), _batches(), clip_grad_norm=max_norm)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    clip = torch.nn.utils.clip_grad_norm_
    _plain(twin, optimizer, _batches(), before=lambda: clip(twin.parameters(), max_norm))
    _close(model, twin)


def test_averages_match_torch() -> None:
    model = _model()
    twin = copy.deepcopy(model)
    multi = torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    averaged = torch.optim.swa_utils.AveragedModel(twin, multi_avg_fn=multi)
    averaged.update_parameters(twin)  # The first update of torch only copies.
    val = _batches(2, seed=3)
    settings = SGD(0.1, 0.0, weight_decay=0.0)
    trainer = _train(model, settings, _batches(), ema_decay=0.8, ema_warmup=False, val=_loader(val))
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    _plain(twin, optimizer, _batches(), after=lambda: averaged.update_parameters(twin))
    _close(model, twin)
    mean = copy.deepcopy(model)
    mean.load_state_dict(trainer.ema_state_dict())
    theirs = dict(averaged.module.named_parameters())
    for name, parameter in mean.named_parameters():
        torch.testing.assert_close(parameter, theirs[name], rtol=1e-4, atol=2e-6)
    # Evaluations and predictions use the averages.
    mean.eval()
    x = val[0][0]
    kept = copy.deepcopy(model.state_dict())
    torch.testing.assert_close(trainer.predict(x), mean(x).detach(), rtol=1e-4, atol=1e-5)
    expected = np.mean([F.cross_entropy(mean(x), y).item() for x, y in val])
    assert trainer.evaluate(_loader(val))["loss"] == pytest.approx(expected, rel=1e-4)
    assert trainer.history.last["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())


def _evaluated(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        output = model(images)
    best = output.topk(5, 1).indices
    hits = best == labels[:, None]
    return {
        "loss": F.cross_entropy(output, labels).item(),
        "top1": hits[:, 0].float().mean().item(),
        "top5": hits.any(1).float().mean().item(),
    }


@pytest.mark.parametrize("count", [1, 7, 16, 37])
def test_evaluations_and_predictions_match_torch(count: int) -> None:
    torch.manual_seed(0)
    model = proprelu.models.create("resnet20")
    images, labels = torch.randn(count, 3, 8, 8), torch.randint(0, 10, (count,))
    trainer = Trainer(model, progress=False)
    data = DataLoader(TensorDataset(images, labels), 16)
    measured = trainer.evaluate(data, batch_size=16)
    assert measured == pytest.approx(_evaluated(model, images, labels), rel=1e-4)
    with torch.no_grad():
        expected = model.eval()(images)
    for batch_size in (16, 1000):
        predicted = trainer.predict(images, batch_size)
        torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-5)
    assert not predicted.requires_grad


def test_uint8_arrays_are_normalized_as_in_training() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    labels = generator.integers(0, 5, 20)
    trainer = Trainer(model, SGD(lr=0.01), progress=False)
    trainer.fit((images, labels), epochs=1, batch_size=4)
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    mean, std = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3), correction=0)
    normalized = (scaled - mean[:, None, None]) / std[:, None, None]
    expected = model(normalized).detach()
    torch.testing.assert_close(trainer.predict(images[:3]), expected[:3], rtol=1e-3, atol=1e-4)
    measured = trainer.evaluate((images, labels), batch_size=8)
    assert measured == pytest.approx(
        _evaluated(model, normalized, torch.from_numpy(labels)), rel=1e-3
    )


def test_a_seed_determines_everything() -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(24) % 5

    def trained(seed: int, noise: int) -> Tensor:
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 5))
        torch.nn.init.zeros_(model[2].weight)
        torch.nn.init.zeros_(model[2].bias)
        torch.manual_seed(noise)
        trainer = Trainer(model, SGD(lr=0.1), seed=seed, progress=False)
        trainer.fit((images, labels), epochs=2, batch_size=8, augment=proprelu.Augment(flip=True))
        weight: Tensor = model[2].weight.detach()
        return weight

    first = trained(seed=1, noise=1)
    assert torch.equal(trained(seed=1, noise=2), first)
    assert not torch.equal(trained(seed=2, noise=1), first)


class Items(Dataset[Any]):
    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3, 8, 8), index / 22.0), index % 5


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(Items()[index] for index in range(22))

    def __len__(self) -> int:
        return 22


def _array_pair() -> tuple[Any, Any]:
    return np.zeros((22, 8, 8, 3), np.uint8), np.arange(22) % 5


@pytest.mark.parametrize(
    "data",
    [
        _array_pair(),
        (torch.zeros(22, 3, 8, 8), torch.arange(22) % 5),
        proprelu.as_dataset(*_array_pair()),
        Items(),
        Stream(),
        DataLoader(Items(), 8),
        DataLoader(Items(), 8, drop_last=True),
        TensorDataset(torch.zeros(22, 3, 8, 8), torch.arange(22) % 5),
    ],
    ids=["numpy", "tensors", "core", "items", "stream", "loader", "full_loader", "tensor_dataset"],
)
@pytest.mark.filterwarnings("ignore:each epoch leaves out 6 of 22 images")
def test_takes_data_of_any_kind(data: Any, request: pytest.FixtureRequest) -> None:
    trainer = Trainer(_model(), SGD(lr=0.01), progress=False)
    history = trainer.fit(data, data, epochs=2, batch_size=8)
    # What is shuffled here is used in full batches; a loader or a stream decides by itself.
    steps = 3 if request.node.callspec.id in ("stream", "loader") else 2
    assert [row["step"] for row in history] == [steps, 2 * steps]
    assert 0 <= history.last["val_top1"] <= history.last["val_top5"] == 1.0
    assert trainer.evaluate(data, batch_size=8)["loss"] == pytest.approx(history.last["val_loss"])


def test_learns_fashion_mnist() -> None:
    data = proprelu.datasets.fashion_mnist_small("train").subset(range(1024))
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)
    )
    model(torch.zeros(2, 1, *data.shape[1:3]))
    trainer = Trainer(model, SGD(lr=0.05), progress=False)
    history = trainer.fit(data, epochs=3, batch_size=64)
    assert history.last["train_top1"] > 0.7


OPTIMIZERS: dict[str, Callable[[nn.Sequential], torch.optim.Optimizer]] = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.05),
    "groups": lambda m: torch.optim.SGD(
        [
            {"params": m[0].parameters(), "lr": 0.01, "weight_decay": 0.1},
            {"params": m[1].parameters(), "momentum": 0.0},
            {"params": [*m[3].parameters(), *m[7].parameters()]},
        ],
        lr=0.1,
        momentum=0.9,
        nesterov=False,
    ),
    "nesterov": lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.8, nesterov=True),
    "dampening": lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.8, dampening=0.3),
    "tensor_lr": lambda m: torch.optim.SGD(m.parameters(), lr=torch.tensor(0.05)),
    "adamw": lambda m: torch.optim.AdamW(
        [
            {"params": m[0].parameters(), "lr": 1e-4, "betas": (0.8, 0.99), "eps": 1e-4},
            {"params": [p for i in (1, 3, 7) for p in m[i].parameters()], "weight_decay": 0.2},
        ],
        lr=1e-3,
        eps=1e-4,
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_settings_of_a_torch_optimizer_are_used(name: str) -> None:
    model = _model()
    twin = copy.deepcopy(model)
    _train(model, OPTIMIZERS[name](model), _batches(10))
    _plain(twin, OPTIMIZERS[name](twin), _batches(10))
    _close(model, twin, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind", [SGD, AdamW])
@pytest.mark.parametrize("everywhere", [True, False])
def test_weight_decay_applies_to_the_right_parameters(kind: Any, everywhere: bool) -> None:
    model = _model()
    twin = copy.deepcopy(model)
    _train(model, kind(lr=1e-2, weight_decay=0.5, decay_norm_and_bias=everywhere), _batches())
    few = [p for p in twin.parameters() if p.dim() < 2]
    groups = [
        {"params": [p for p in twin.parameters() if p.dim() >= 2]},
        {"params": few, "weight_decay": 0.5 if everywhere else 0.0},
    ]
    options = {"lr": 1e-2, "weight_decay": 0.5}
    theirs = (
        torch.optim.SGD(groups, momentum=0.9, **options)
        if kind is SGD
        else torch.optim.AdamW(groups, **options)
    )
    _plain(twin, theirs, _batches())
    _close(model, twin, rtol=1e-3, atol=2e-5)


def test_averages_are_saved(tmp_path: Any) -> None:
    model = _model()
    trainer = _train(model, SGD(lr=0.1), _batches(), ema_decay=0.5)
    trainer.save_weights(tmp_path / "w.safetensors")
    other = _model(seed=9)
    proprelu.load_weights(other, tmp_path / "w.safetensors")
    expected = trainer.ema_state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in other.state_dict().items())
    assert not torch.equal(other[0].weight, model[0].weight)
