"""Distillation matches a plain PyTorch loop with the same loss and does not change the teacher."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import proprelu
import pytest
import torch
from proprelu import SGD, Distill, Trainer
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

Batch = tuple[Tensor, Tensor]

SETTINGS: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


def _batches(steps: int = 5, seed: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(steps, 8, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 5, (steps, 8), generator=generator)
    return list(zip(images, labels, strict=True))


def _loader(batches: list[Batch]) -> DataLoader[Any]:
    images, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    return DataLoader(TensorDataset(images, labels), 8)


def _network(width: int, seed: int, outputs: int = 5, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(4 * width, outputs),
    )


def _student(seed: int = 0) -> nn.Sequential:
    return _network(6, seed)


def _teacher(outputs: int = 5) -> nn.Sequential:
    """A teacher in training mode, which must not be used, with confident predictions."""
    teacher = _network(10, 7, outputs, dropout=0.5)
    with torch.no_grad():
        for _ in range(20):
            teacher(torch.randn(16, 3, 8, 8) * 2 + 1)
        teacher[-1].weight *= 10
    return teacher


class Uncapturable(nn.Module):
    """Cannot be captured, because its forward reads the values of a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y if x.sum() > -1e9 else -y


def _train(model: nn.Module, teacher: nn.Module | None, **settings: Any) -> Trainer:
    fit = {"epochs": settings.pop("epochs", 1), "val": settings.pop("val", None)}
    trainer = Trainer(
        model, SGD(**SETTINGS), "constant", teacher=teacher, progress=False, **settings
    )
    trainer.fit(_loader(_batches()), **fit)
    return trainer


def _plain(
    model: nn.Module, teacher: nn.Module, distill: Distill | None = None, bf16: bool = False
) -> float:
    """The same training in plain PyTorch; returns the mean loss."""
    distill = distill or Distill()
    teacher = copy.deepcopy(teacher).eval()
    optimizer = torch.optim.SGD(model.parameters(), **SETTINGS)
    losses = []
    for images, labels in _batches():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output, target = model.train()(images), teacher(images).detach()
        p, q = ((y.float() / distill.temperature).softmax(1) for y in (target, output))
        divergence = (p * (p.log() - q.log())).sum() / len(images)
        loss = (1 - distill.weight) * F.cross_entropy(output.float(), labels)
        loss = loss + distill.weight * distill.temperature**2 * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def _close(ours: nn.Module, theirs: nn.Module, rtol: float = 1e-4, atol: float = 5e-6) -> None:
    expected = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=rtol, atol=atol, msg=name)


def _far(ours: nn.Module, theirs: nn.Module) -> bool:
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return any((p - q).abs().max() > 1e-3 for p, q in pairs)


@pytest.mark.parametrize(
    "distill", [Distill(), Distill(temperature=1.5, weight=0.9), Distill(weight=1)], ids=str
)
def test_five_steps_match_a_loop_by_hand(distill: Distill, monkeypatch: pytest.MonkeyPatch) -> None:
    def python(*_: Any) -> None:
        raise AssertionError("a step calls Python")

    monkeypatch.setattr("proprelu.train.runner.call_operation", python)
    model, teacher = _student(), _teacher()
    twin, undistilled = copy.deepcopy(model), copy.deepcopy(model)
    trainer = _train(model, teacher, distill=distill)
    assert trainer.program is not None
    expected = _plain(twin, teacher, distill)
    assert trainer.history.last["train_loss"] == pytest.approx(expected, rel=1e-4)
    _close(model, twin)
    _train(undistilled, None)
    assert _far(model, undistilled)


def test_a_converted_model_learns_from_its_original() -> None:
    teacher = _teacher()
    model = proprelu.convert(teacher, "2:1")
    model.get_submodule("7").p = 0.0
    twin = copy.deepcopy(model)
    _train(model, teacher)
    _plain(twin, teacher)
    _close(model, twin)


def test_the_teachers_batch_norms_are_folded() -> None:
    trainer = _train(_student(), _teacher())
    assert trainer.program is not None
    assert "convolution_batch_norm_relu" in trainer.program


@pytest.mark.parametrize("wrap", [nn.Sequential, Uncapturable])
@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_the_teacher_is_not_changed(wrap: Callable[[nn.Module], nn.Module]) -> None:
    teacher = wrap(_teacher())
    teacher.training = False
    next(teacher.parameters()).requires_grad_(False)
    modes = [module.training for module in teacher.modules()]
    tensors = {**dict(teacher.named_parameters()), **dict(teacher.named_buffers())}
    before = {
        name: (tensor.data_ptr(), tensor.stride(), tensor.requires_grad, tensor.clone())
        for name, tensor in tensors.items()
    }
    _train(_student(), teacher, ema_decay=0.9, val=_loader(_batches(1)), epochs=2)
    after = {**dict(teacher.named_parameters()), **dict(teacher.named_buffers())}
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        *facts, values = before[name]
        assert tensor is tensors[name]
        assert [tensor.data_ptr(), tensor.stride(), tensor.requires_grad] == facts
        assert torch.equal(tensor, values)
    assert [module.training for module in teacher.modules()] == modes
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_only_the_student_is_trained_and_saved() -> None:
    model = _student()
    names = list(model.state_dict())
    trainer = _train(model, _teacher(), ema_decay=0.9)
    assert list(model.state_dict()) == list(trainer.ema_state_dict()) == names
    # A torch optimizer over the student's parameters is complete.
    model = _student()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Trainer(model, optimizer, teacher=_teacher(), progress=False).fit(_loader(_batches()), epochs=1)


def test_without_weight_it_is_plain_training() -> None:
    model, plain = _student(), _student()
    first = _train(model, _teacher(), distill=Distill(weight=0))
    second = _train(plain, None)
    _close(model, plain, rtol=1e-6, atol=1e-7)
    expected = second.history.last["train_loss"]
    assert first.history.last["train_loss"] == pytest.approx(expected, rel=1e-6)


def test_evaluations_do_not_use_the_teacher() -> None:
    val = _batches(2, seed=3)
    model = _student()
    trainer = _train(model, _teacher(), val=_loader(val))
    model.eval()
    expected = np.mean([F.cross_entropy(model(x), y).item() for x, y in val])
    assert trainer.history.last["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert trainer.evaluate(_loader(val))["loss"] == pytest.approx(expected, rel=1e-4)
    assert trainer.predict(val[0][0]).shape == (8, 5)


def test_bf16_matches_autocast() -> None:
    model, teacher = _student(), _teacher()
    twin = copy.deepcopy(model)
    trainer = _train(model, teacher, precision="bf16")
    assert trainer.program is not None
    expected = _plain(twin, teacher, bf16=True)
    assert trainer.history.last["train_loss"] == pytest.approx(expected, rel=0.02)
    _close(model, twin, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("who", ["model", "teacher"])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_student_that_cannot_be_captured_trains_too(who: str, bf16: bool) -> None:
    model, teacher = _student(), _teacher()
    twin = copy.deepcopy(model)
    ours = Uncapturable(model) if who == "model" else model
    theirs = Uncapturable(teacher) if who == "teacher" else teacher
    with pytest.warns(UserWarning, match="cannot be captured as one program"):
        trainer = _train(ours, theirs, precision="bf16" if bf16 else "fp32")
    assert trainer.program is None
    expected = _plain(twin, teacher, bf16=bf16)
    rel = 0.02 if bf16 else 1e-4
    assert trainer.history.last["train_loss"] == pytest.approx(expected, rel=rel)
    _close(model, twin, **({"rtol": 0.1, "atol": 0.02} if bf16 else {}))


def test_a_teacher_in_half_precision_with_several_outputs() -> None:
    """The teacher is in half precision and returns more than its predictions."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = _teacher().half()
            self.scale = torch.ones((), dtype=torch.float16)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.model(x) * self.scale, x

    model, teacher = _student(), Pair()
    twin = copy.deepcopy(model)
    assert _train(model, teacher).program is not None
    _plain(twin, copy.deepcopy(teacher.model).float())
    _close(model, twin)
    assert next(teacher.parameters()).dtype == torch.float16


def test_mixed_takes_the_mean_over_all_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 4, generator=generator).unbind()
    rows = (y.transpose(1, 2).reshape(12, 5) for y in (student, teacher))
    loss, distill = torch.tensor(1.0), Distill(temperature=2, weight=0.3)
    torch.testing.assert_close(distill.mixed(loss, student, teacher), distill.mixed(loss, *rows))


def _arrays() -> tuple[Any, Any]:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    return images, np.arange(40) % 5


def _fit(model: nn.Module, teacher: nn.Module | None, epochs: int, **options: Any) -> Trainer:
    trainer = Trainer(model, SGD(**SETTINGS), "constant", teacher=teacher, progress=False)
    trainer.fit(_arrays(), epochs=epochs, batch_size=8, **options)
    return trainer


def _names(path: Path) -> set[str]:
    with safe_open(path, "pt") as file:
        return set(file.keys())


def test_a_checkpoint_holds_the_student_and_is_resumed(tmp_path: Path) -> None:
    teacher, path, other = _teacher(), tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    whole, half, resumed = _student(), _student(), _student(seed=1)
    _fit(whole, teacher, 2)
    _fit(half, teacher, 1, checkpoint=path)
    _fit(_student(), None, 1, checkpoint=other)
    assert _names(path) == _names(other)
    _fit(resumed, teacher, 2, resume=path)
    expected = whole.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in resumed.state_dict().items())
    _fit(_student(seed=1), None, 2, resume=path, override="teacher")


def _fails(kind: type[BaseException], words: str, action: Callable[[], Any]) -> None:
    with pytest.raises(kind) as caught:
        action()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in message
    assert re.search(words, message), message


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan"), True, None, "4"])
def test_temperatures_out_of_range(value: Any) -> None:
    words = f"temperature must be a number above 0, got {re.escape(repr(value))}"
    _fails(ValueError, words, lambda: Distill(temperature=value))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), False, None, "1"])
def test_weights_out_of_range(value: Any) -> None:
    words = f"weight must be between 0 and 1, got {re.escape(repr(value))}"
    _fails(ValueError, words, lambda: Distill(weight=value))


def _sharing() -> Trainer:
    model, teacher = _student(), _teacher()
    teacher[2] = nn.Sequential(nn.ReLU(), model[1])
    return Trainer(model, teacher=teacher, progress=False)


def _itself() -> Trainer:
    model = _student()
    return Trainer(model, teacher=model, progress=False)


def _new(**settings: Any) -> Callable[[], Trainer]:
    return lambda: Trainer(_student(), progress=False, **settings)


def _with_a_graph() -> nn.Module:
    teacher = _teacher()
    teacher.seen = teacher(torch.zeros(2, 3, 8, 8))
    return teacher


@pytest.mark.parametrize(
    ("kind", "words", "action"),
    [
        (TypeError, "teacher must be an nn.Module, got str", _new(teacher="resnet18")),
        (TypeError, "distill must be a Distill, got float", _new(teacher=_teacher(), distill=0.5)),
        (ValueError, "teacher must be given with distill, got None", _new(distill=Distill())),
        (ValueError, "another module than the model, got the model itself", _itself),
        (ValueError, r"share no parameter with the model, got its 2\.1\.weight", _sharing),
        (ValueError, r"got none for 0\.weight", _new(teacher=_teacher().to("meta"))),
        (ValueError, r"got none for 0\.weight", _new(teacher=nn.Sequential(nn.LazyLinear(5)))),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_wrong_teachers(kind: type[BaseException], words: str, action: Callable[[], Any]) -> None:
    _fails(kind, words, action)


@pytest.mark.parametrize(
    ("words", "model", "teacher"),
    [
        (r"\(1, 5\) for one image, got \(1, 10\)", _student(), _teacher(10)),
        (r"\(1, 5\) for one image, got \(1, 1\)", _student(), _teacher(1)),
        (r"\(1, 5\) for one image, got \(1, 1\)", Uncapturable(_student()), _teacher(1)),
        (
            r"takes predictions \(N, num_classes\), got \(N,\)",
            nn.Sequential(_network(6, 0, 1), nn.Flatten(0)),
            nn.Sequential(_teacher(1), nn.Flatten(0)),
        ),
        ("can be copied, got RuntimeError", _student(), _with_a_graph()),
    ],
)
def test_a_teacher_with_predictions_of_another_shape(
    words: str, model: nn.Module, teacher: nn.Module
) -> None:
    before = copy.deepcopy(model.state_dict())
    _fails(ValueError, words, lambda: _train(model, teacher))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(module.training for module in model.modules())
