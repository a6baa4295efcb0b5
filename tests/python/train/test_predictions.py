"""Few images are predicted in PyTorch; for many a program is captured and kept."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from proprelu import SGD, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from world import Everything, unchanged

_IMAGES = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that were captured so far; 16 images are worth a capture."""
    from proprelu.train import session

    shapes: list[tuple[int, ...]] = []
    make_runner = session.make_runner

    def counted(model: Any, loss: Any, images: Tensor, *rest: Any, **settings: Any) -> Any:
        shapes.append(tuple(images.shape))
        return make_runner(model, loss, images, *rest, **settings)

    monkeypatch.setattr(session, "make_runner", counted)
    monkeypatch.setattr(session, "WORTH_CAPTURING", 16)
    return shapes


def _model() -> Everything:
    torch.manual_seed(0)
    return Everything()


def _plain(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        y: Tensor = copy.deepcopy(model).eval()(images)
    return y


@pytest.mark.parametrize("count", [1, 7, 15])
def test_few_images_have_the_result_of_the_model_itself(
    captures: list[tuple[int, ...]], count: int
) -> None:
    model = _model()
    trainer = Trainer(model, progress=False)
    with unchanged(model, values=True):
        found = trainer.predict(_IMAGES[:count])
    assert torch.equal(found, _plain(model, _IMAGES[:count]))
    data = TensorDataset(_IMAGES[:count], torch.arange(count) % 5)
    expected = nn.functional.cross_entropy(found, data.tensors[1]).item()
    assert trainer.evaluate(DataLoader(data, count))["loss"] == pytest.approx(expected, rel=1e-4)
    assert not captures


def test_a_prediction_shares_no_memory_with_the_images(captures: list[tuple[int, ...]]) -> None:
    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return x

    images = _IMAGES[:3].clone()
    predicted = Trainer(Same(), progress=False).predict(images)
    images.zero_()
    assert torch.equal(predicted, _IMAGES[:3])


def test_few_images_in_bf16(captures: list[tuple[int, ...]]) -> None:
    model = _model()
    with torch.autocast("cpu", torch.bfloat16):
        expected = _plain(model, _IMAGES[:7]).float()
    found = Trainer(model, precision="bf16", progress=False).predict(_IMAGES[:7])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)


def test_few_images_with_averages(captures: list[tuple[int, ...]]) -> None:
    model = _model()
    trainer = Trainer(model, SGD(lr=0.5), ema_decay=0.5, progress=False)
    trainer.fit((_IMAGES, torch.arange(40) % 5), epochs=1, batch_size=8)
    mean = copy.deepcopy(model)
    mean.load_state_dict(trainer.ema_state_dict())
    with unchanged(model, values=True):
        found = trainer.predict(_IMAGES[:7], normalize=False)
    torch.testing.assert_close(found, _plain(mean, _IMAGES[:7]), rtol=1e-4, atol=1e-5)


def test_an_override_of_train_is_undone(captures: list[tuple[int, ...]]) -> None:
    class Merging(nn.Linear):
        """Merges a second weight in evaluation mode, as low-rank adapters do."""

        def train(self, mode: bool = True) -> Any:
            if mode != self.training:
                self.weight.data *= 0.5 if mode else 2.0
            return super().train(mode)

    model = nn.Sequential(nn.Flatten(), Merging(192, 5))
    trainer = Trainer(model, progress=False)
    for count in (3, 40):
        with unchanged(model, values=True):
            found = trainer.predict(_IMAGES[:count], batch_size=8)
        torch.testing.assert_close(found, _plain(model, _IMAGES[:count]), rtol=1e-4, atol=1e-3)


def test_a_program_is_kept_for_sizes_alike(captures: list[tuple[int, ...]]) -> None:
    model = _model()
    trainer = Trainer(model, SGD(lr=0.1), progress=False)
    for count in (40, 39, 17, 38, 9, 1):
        found = trainer.predict(_IMAGES[:count], batch_size=8)
        torch.testing.assert_close(found, _plain(model, _IMAGES[:count]), rtol=1e-4, atol=1e-5)
    assert captures == [(8, 3, 8, 8)]
    trainer.evaluate((_IMAGES, torch.arange(40) % 5), batch_size=8)
    assert captures == [(8, 3, 8, 8)]
    # New weights need no new program.
    with torch.no_grad():
        model.conv.weight.mul_(2)
        model.norm.running_mean.add_(1)
    found = trainer.predict(_IMAGES, batch_size=8)
    torch.testing.assert_close(found, _plain(model, _IMAGES), rtol=1e-4, atol=1e-5)
    assert captures == [(8, 3, 8, 8)]


def _hook(model: Everything) -> None:
    model.fc.register_forward_hook(lambda module, args, y: y + 1)


def _patch(model: Everything) -> None:
    forward = model.forward
    model.forward = lambda x: forward(x) * 2  # type: ignore[method-assign]


def _replace(model: Everything) -> None:
    model.fc = nn.Linear(8, 6)


def _set(path: str, name: str, value: Any) -> Callable[[Everything], None]:
    return lambda model: setattr(model.get_submodule(path), name, value)


CHANGES: dict[str, Callable[[Everything], None]] = {
    "hook": _hook,
    "patched forward": _patch,
    "replaced module": _replace,
    "number": _set("norm", "eps", 10.0),
    "tuple": _set("flat", "padding", (0, 0)),
    "buffer": _set("", "scale", torch.full((1,), 3.0)),
    "tensor": _set("", "plain", torch.full((1,), 3.0)),
    "class": lambda model: setattr(model.conv, "__class__", Doubled),
}


class Doubled(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_captured_again(captures: list[tuple[int, ...]], change: str) -> None:
    model = _model()
    trainer = Trainer(model, progress=False)
    before = trainer.predict(_IMAGES, batch_size=8)
    CHANGES[change](model)
    with torch.no_grad():
        expected = model.eval()(_IMAGES)
    after = trainer.predict(_IMAGES, batch_size=8)
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)
    assert after.shape != before.shape or not torch.equal(after, before)
    assert len(captures) == 2


def test_only_a_few_programs_are_kept(captures: list[tuple[int, ...]]) -> None:
    trainer = Trainer(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), progress=False)
    for size in (4, 5, 6, 7, 8, 4):
        trainer.predict(_IMAGES, batch_size=size)
    assert len(captures) == 6
    trainer.predict(_IMAGES, batch_size=8)
    assert len(captures) == 6
    assert len(trainer._predictors._kept) == 4
