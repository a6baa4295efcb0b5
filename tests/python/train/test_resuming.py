"""A resumed training is the one that was begun: the same settings, data and curve."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import proprelu
import pytest
import torch
from proprelu import SGD, AdamW, Augment, Cosine, CrossEntropy, Distill, OneCycle, Trainer
from proprelu._core import TrainState
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def _data(seed: int = 5, count: int = 48) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return images, np.arange(count) % 4


def _model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))


OPTIONS = {"epochs", "batch_size", "checkpoint", "resume", "override", "schedule_epochs", "augment"}


def _fit(model: nn.Module | None = None, data: Any = None, **changes: Any) -> Trainer:
    names = (
        "epochs",
        "batch_size",
        "checkpoint",
        "resume",
        "override",
        "schedule_epochs",
        "augment",
    )
    options = {name: changes.pop(name) for name in names if name in changes}
    settings = {"optimizer": SGD(lr=0.1), **changes}
    trainer = Trainer(model or _model(), progress=False, **settings)
    trainer.fit(data or _data(), **{"epochs": 1, "batch_size": 16, **options})
    return trainer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch of two."""
    path = tmp_path_factory.mktemp("resuming") / "a.ckpt"
    _fit(checkpoint=path, schedule_epochs=2)
    return path


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "plan": ({"model": proprelu.convert(_model(), "2:1")}, 'ratio was "2:2", is "2:1"'),
    "data": ({"data": _data(6)}, "sample was"),
    "batch_size": ({"batch_size": 8}, "it was 16, is 8"),
    "augment": ({"augment": Augment(flip=True)}, "flip was false, is true"),
    "precision": ({"precision": "bf16"}, 'it was "fp32", is "bf16"'),
    "optimizer": ({"optimizer": SGD(lr=0.2)}, "lr was 0.1, is 0.2"),
    "schedule": ({"schedule": OneCycle()}, 'name was "cosine", is "one_cycle"'),
    "clip_grad_norm": ({"clip_grad_norm": 1.0}, "it was null, is 1.0"),
    "loss": ({"loss": CrossEntropy(0.1)}, "label_smoothing was 0.0, is 0.1"),
    "teacher": ({"teacher": _model()}, 'it was null, is {"class": "Sequential"'),
    "seed": ({"seed": 3}, "it was 0, is 3"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_refused_by_name_or_allowed(name: str, checkpoint: Path) -> None:
    changes, words = CHANGES[name]
    with pytest.raises(ValueError, match=f"another {name}: .*override") as caught:
        _fit(resume=checkpoint, epochs=2, **changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    trainer = _fit(resume=checkpoint, epochs=2, override=(name,), **changes)
    assert trainer.history.column("epoch") == [1, 2]


def test_fewer_images_are_other_data(checkpoint: Path) -> None:
    fewer = _data(count=32)
    with pytest.raises(ValueError, match="another data: images was 48, is 32"):
        _fit(data=fewer, resume=checkpoint, epochs=2)
    assert (
        _fit(data=fewer, resume=checkpoint, epochs=2, override=["data"]).history.last["step"] == 5
    )


def test_an_override_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"override must be names among plan, data.* got 'lr'"):
        _fit(override=("lr",))


def test_a_loader_of_another_batch_size_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    data = TensorDataset(torch.randn(48, 3, 8, 8), torch.arange(48) % 4)
    _fit(data=DataLoader(data, 16), checkpoint=path, schedule_epochs=2)
    with pytest.raises(ValueError, match="another batch_size: it was 16, is 8"):
        _fit(data=DataLoader(data, 8), resume=path, epochs=2)


def _cosine(done: float) -> float:
    return 0.1 * (1 + math.cos(math.pi * done)) / 2


def test_a_planned_curve_is_followed(checkpoint: Path, tmp_path: Path) -> None:
    whole = _fit(epochs=2)
    resumed = _fit(resume=checkpoint, epochs=2)
    assert resumed.history.column("lr") == whole.history.column("lr")
    weights = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)
    # The plan is part of the checkpoint, and need not be repeated.
    first = tmp_path / "long.ckpt"
    _fit(checkpoint=first, schedule_epochs=4)
    assert _fit(resume=first, epochs=2).history.last["lr"] == pytest.approx(_cosine(5 / 12))


def test_another_curve_is_announced(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    _fit(checkpoint=path)
    with pytest.warns(UserWarning, match="planned for 1 epochs and is continued as one of 2"):
        trainer = _fit(resume=path, epochs=2)
    assert trainer.history.column("lr") == pytest.approx([_cosine(2 / 3), _cosine(5 / 6)])
    _fit(checkpoint=path, schedule="constant")
    _fit(resume=path, epochs=2, schedule="constant")


def test_the_curve_ends_with_the_training_whatever_the_batches(checkpoint: Path) -> None:
    trainer = _fit(resume=checkpoint, epochs=2, batch_size=4, override=("batch_size",))
    assert trainer.history.column("step") == [3, 15]
    assert trainer.history.last["lr"] == pytest.approx(_cosine(23 / 24))


@pytest.mark.parametrize("length", [0, 1.5, True])
def test_the_length_of_a_schedule_is_checked(length: Any) -> None:
    with pytest.raises(ValueError, match="schedule_epochs must be a whole number >= 1"):
        _fit(schedule_epochs=length)


def test_a_schedule_is_not_shorter_than_the_training() -> None:
    with pytest.raises(ValueError, match="at least the epochs of the training, 3, got 2"):
        _fit(epochs=3, schedule_epochs=2)


def test_a_second_fit_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    model = _model()
    plain, images = (
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        torch.randn(16, 3, 8, 8),
    )
    labels = torch.arange(16) % 4
    trainer = Trainer(_model(), SGD(lr=0.1, weight_decay=0.0), schedule="constant", progress=False)
    for epochs in (1, 2):
        history = trainer.fit(
            DataLoader(TensorDataset(images, labels), 16), epochs=epochs, checkpoint=path
        )
    assert history.column("epoch") == [1, 2, 3]
    assert history.column("step") == [1, 2, 3]
    assert history == trainer.history
    for _ in range(3):
        plain.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        plain.step()
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    resumed = Trainer(_model(), SGD(lr=0.1, weight_decay=0.0), schedule="constant", progress=False)
    history = resumed.fit(DataLoader(TensorDataset(images, labels), 16), epochs=4, resume=path)
    assert history.column("epoch") == [1, 2, 3, 4]


def test_the_schedule_of_a_second_fit_runs_over_its_own_epochs(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    trainer = _fit(epochs=2)
    trainer.fit(_data(), epochs=1, batch_size=16, schedule_epochs=2, checkpoint=path)
    expected = [_cosine(2 / 6), _cosine(5 / 6), _cosine(2 / 6)]
    assert trainer.history.column("lr") == pytest.approx(expected)
    resumed = _fit(resume=path, epochs=4)
    assert resumed.history.column("lr") == pytest.approx([*expected, _cosine(5 / 6)])


def test_a_second_fit_with_another_optimizer_begins_with_its_state() -> None:
    trainer = _fit()
    trainer.optimizer = AdamW(lr=1e-3)
    assert trainer.fit(_data(), epochs=1, batch_size=16).column("epoch") == [1, 2]


@pytest.mark.parametrize("warmup", [True, False])
def test_averages_of_a_short_training(warmup: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    images, labels = torch.randn(16, 3, 8, 8), torch.arange(16) % 4
    batches = DataLoader(TensorDataset(images, labels), 16)
    settings = {"ema_decay": 0.9, "ema_warmup": warmup, "schedule": "constant", "progress": False}
    trainer = Trainer(_model(), SGD(lr=0.1), **settings)
    average = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    for step in range(1, 4):
        trainer.fit(batches, epochs=1, checkpoint=path)
        decay = min(0.9, (1 + step) / (10 + step)) if warmup else 0.9
        for name, parameter in trainer.model.named_parameters():
            average[name].lerp_(parameter.detach(), 1 - decay)
    torch.testing.assert_close(trainer.ema_state_dict(), average, rtol=1e-4, atol=1e-6)
    resumed = Trainer(_model(), SGD(lr=0.1), **settings)
    resumed.fit(batches, epochs=3, resume=path)
    torch.testing.assert_close(resumed.ema_state_dict(), trainer.ema_state_dict())


@pytest.mark.parametrize("place", [".", "file/a.ckpt", "a" * 256])
def test_a_checkpoint_that_cannot_be_written_is_noticed_at_the_start(
    place: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    trainer = Trainer(_model(), progress=False)
    with pytest.raises(OSError, match="cannot write"):
        trainer.fit(_data(), epochs=1, batch_size=16, checkpoint=tmp_path / place)
    assert len(trainer.history) == 0


def test_a_checkpoint_of_the_first_version_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    counters = {"version": 1, "step": 1, "epoch": 0, "updates": [], "rows": []}
    state = {f"model.{name}": tensor for name, tensor in _model().state_dict().items()}
    save_file(state, path, {"proprelu": json.dumps(counters)})
    with pytest.raises(ValueError, match=r"older version.*proprelu\.load_weights") as caught:
        _fit(resume=path)
    assert "\n" not in str(caught.value)
    model = _model()
    with torch.no_grad():
        model[0].weight.zero_()
    proprelu.load_weights(model, path)
    assert torch.equal(model[0].weight, _model()[0].weight)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.1, None])
def test_a_validation_loss_comes_back_exactly(value: float | None, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    state = _state()
    counters, tensors = state.memory()
    row = dict.fromkeys(proprelu.History.columns, 1.0)
    row |= {"epoch": 1, "step": 1, "val_loss": value, "val_top1": None}
    state.go_on({**counters, "epoch": 1, "step": 1, "rows": [row]}, tensors)
    state.save(path)
    again = _state()
    again.load(path)
    assert repr(again.rows()[0]["val_loss"]) == repr(value)
    assert again.rows()[0]["val_top1"] is None


def _state() -> TrainState:
    named = [(name, p.detach(), SGD().settings()) for name, p in _model().named_parameters()]
    return TrainState(named, [])


def test_numbers_of_any_kind_are_settings() -> None:
    optimizer = AdamW(
        lr=np.float32(0.01), betas=(np.float64(0.9), torch.tensor(0.99)), weight_decay=np.int64(0)
    )
    trainer = Trainer(
        _model(),
        optimizer,
        Cosine(eta_min_factor=np.float16(0.5), warmup_epochs=np.int32(1)),
        proprelu.CrossEntropy(np.float32(0.1)),
        ema_decay=np.float32(0.5),
        clip_grad_norm=torch.tensor(1.0),
        seed=np.uint64(3),
        progress=False,
    )
    augment = Augment(pad=np.int64(1), flip=np.bool_(True))
    history = trainer.fit(_data(), epochs=np.int64(2), batch_size=np.array(16), augment=augment)
    assert history.column("step") == [3, 6]
    assert str(proprelu.Ratio.of((np.int64(2), 1))) == "2:1"
    assert proprelu.Anneal(epochs=np.float32(1.5)).epochs == 1.5
    torch_optimizer = torch.optim.AdamW(_model().parameters(), lr=torch.tensor(0.01))
    with pytest.raises(ValueError, match="not the model's"):
        Trainer(_model(), torch_optimizer)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("lr must be a finite number", {"optimizer": SGD(lr=True)}),
    ("lr must be a finite number", {"optimizer": SGD(lr=np.bool_(True))}),
    ("lr must be a finite number", {"optimizer": SGD(lr=np.float32("nan"))}),
    ("lr must be a finite number", {"optimizer": SGD(lr=torch.tensor(float("inf")))}),
    ("lr must be a finite number", {"optimizer": SGD(lr=np.ones(2))}),
    ("ema_decay must be between 0 and 1", {"ema_decay": torch.tensor(True)}),
    ("clip_grad_norm must be a number above 0", {"clip_grad_norm": math.inf}),
    ("seed must be a whole number", {"seed": np.float64(1)}),
    ("seed must be a whole number", {"seed": np.bool_(True)}),
]


@pytest.mark.parametrize(("words", "settings"), WRONG)
def test_bools_and_what_is_not_finite_are_no_numbers(words: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=words):
        Trainer(_model(), **settings)


def _attach(kind: Any, **options: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kind(optimizer, **options)
    return model, optimizer


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.lr_scheduler.OneCycleLR, {"max_lr": 0.1, "total_steps": 10}),
        (torch.optim.lr_scheduler.LambdaLR, {"lr_lambda": lambda step: 0.1}),
        (torch.optim.lr_scheduler.LinearLR, {"start_factor": 0.1}),
        (torch.optim.lr_scheduler.CosineAnnealingLR, {"T_max": 10}),
        (torch.optim.lr_scheduler.StepLR, {"step_size": 3}),
        (torch.optim.lr_scheduler.CyclicLR, {"base_lr": 0.01, "max_lr": 0.1}),
        (torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 3}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_scheduler_on_the_optimizer_is_refused(kind: Any, options: dict[str, Any]) -> None:
    model, optimizer = _attach(kind, **options)
    with pytest.raises(ValueError, match=r"has a learning-rate scheduler.*schedule="):
        Trainer(model, optimizer)
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(model, optimizer, progress=False)
    kind(optimizer, **options)
    with pytest.raises(ValueError, match="has a learning-rate scheduler"):
        trainer.fit(_data(), epochs=1)


def test_hooks_of_an_optimizer_are_refused_and_its_state_is_announced() -> None:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    handle = optimizer.register_step_post_hook(lambda *_: None)
    with pytest.raises(ValueError, match="no hooks of its step"):
        Trainer(model, optimizer)
    handle.remove()
    model(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    with pytest.warns(UserWarning, match=r"state of the optimizer \(momentum_buffer\)"):
        Trainer(model, optimizer)


class Focal(nn.Module):
    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.inner = nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 1.0, gamma]), reduction="none")

    def forward(self, predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = self.inner(predictions, labels)
        return ((1 - (-loss).exp()) ** self.gamma * loss).mean()


LOSSES: list[tuple[nn.Module, nn.Module, str]] = [
    (nn.CrossEntropyLoss(), nn.MultiMarginLoss(), 'class was "CrossEntropy", is "MultiMarginLoss"'),
    (nn.MultiMarginLoss(margin=1.0), nn.MultiMarginLoss(margin=0.5), "margin was 1.0, is 0.5"),
    (Focal(1.0), Focal(2.0), "gamma was 1.0, is 2.0"),
    (
        nn.CrossEntropyLoss(torch.ones(4)),
        nn.CrossEntropyLoss(torch.arange(4.0)),
        "weight was",
    ),
]


@pytest.mark.parametrize(("before", "after", "words"), LOSSES)
def test_another_loss_is_refused(
    before: nn.Module, after: nn.Module, words: str, tmp_path: Path
) -> None:
    _fit(loss=before, checkpoint=tmp_path / "a", schedule_epochs=2)
    with pytest.raises(ValueError, match="is of a training with another loss") as caught:
        _fit(loss=after, resume=tmp_path / "a", epochs=2)
    assert words in str(caught.value)
    _fit(loss=before, resume=tmp_path / "a", epochs=2)


def test_the_same_cross_entropy_under_another_name_is_the_same_loss(checkpoint: Path) -> None:
    _fit(loss=nn.CrossEntropyLoss(), resume=checkpoint, epochs=2)


def test_another_way_to_learn_from_a_teacher_is_refused(tmp_path: Path) -> None:
    _fit(teacher=_model(), checkpoint=tmp_path / "a", schedule_epochs=2)
    for changes in ({}, {"teacher": _model(), "distill": Distill(weight=0.25)}):
        with pytest.raises(ValueError, match="with another teacher"):
            _fit(resume=tmp_path / "a", epochs=2, **changes)


@pytest.mark.parametrize("override", [None, 3])
def test_an_override_is_names(override: Any, checkpoint: Path) -> None:
    with pytest.raises(TypeError, match=r"override must be names among .*, or \(\), got") as caught:
        _fit(resume=checkpoint, override=override)
    assert "\n" not in str(caught.value)


def test_a_missing_checkpoint_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot read .*absent: No such file"):
        _fit(resume=tmp_path / "absent")


def test_another_model_is_refused_in_its_own_names(checkpoint: Path) -> None:
    other = nn.Sequential(*list(_model())[:-1], nn.Linear(4, 5))
    for settings, words in (
        ({"model": other}, r"its 6\.weight has shape \[4, 4\], not \[5, 4\]"),
        (
            {"optimizer": AdamW(), "override": "optimizer"},
            r"it has no optimizer state exp_avg of 0\.weight",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            _fit(resume=checkpoint, epochs=2, **settings)
