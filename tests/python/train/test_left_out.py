"""What a loss leaves out counts in no accuracy: neither as right nor as wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from proprelu import SGD, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

COUNT, CLASSES, BATCH = 76, 8, 16


class Wrapped(nn.Module):
    """A loss of somebody's own around one of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.CrossEntropyLoss(ignore_index=2)

    def forward(self, predictions: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.inner(predictions, labels)
        return loss


WEIGHT = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0, 1.0, 1.0, 1.0])

# A loss, and the labels that it leaves out.
LOSSES: dict[str, tuple[Callable[[], nn.Module], list[int]]] = {
    "none": (nn.CrossEntropyLoss, []),
    "a class": (lambda: nn.CrossEntropyLoss(ignore_index=3), [3]),
    "class 0 of NLLLoss": (lambda: nn.NLLLoss(ignore_index=0), [0]),
    "no class": (lambda: nn.CrossEntropyLoss(ignore_index=255), [255]),
    "a negative number": (lambda: nn.CrossEntropyLoss(ignore_index=-1), [-1]),
    "a part's": (Wrapped, [2]),
    "classes without weight": (lambda: nn.CrossEntropyLoss(weight=WEIGHT), [1, 4]),
    "smoothed": (lambda: nn.CrossEntropyLoss(weight=WEIGHT, label_smoothing=0.1), []),
}


class Uncapturable(nn.Sequential):
    def forward(self, images: Tensor) -> Any:
        assert images.sum().item() is not None
        return super().forward(images)


def _model(eager: bool = False) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    kind = Uncapturable if eager else nn.Sequential
    return kind(*layers, nn.Linear(8, CLASSES), nn.LogSoftmax(1))


def _data(left_out: list[int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(COUNT, 3, 6, 6, generator=generator)
    labels = torch.randint(CLASSES, (COUNT,), generator=generator)
    if left_out and left_out[0] not in range(CLASSES):
        labels[::3] = left_out[0]
    return images, labels


def _judged(model: nn.Module, data: tuple[Tensor, Tensor], left_out: list[int]) -> dict[str, float]:
    """The accuracies of the images whose label the loss does not leave out."""
    images, labels = data
    counts = torch.tensor([label not in left_out for label in labels.tolist()])
    with torch.no_grad():
        hits = model.eval()(images).topk(5).indices == labels[:, None]
    hits = hits[counts].double()
    return {"top1": hits[:, 0].mean().item(), "top5": hits.any(1).double().mean().item()}


def _part(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {name: row[f"{prefix}{name}"] for name in ("top1", "top5")}


@pytest.mark.filterwarnings("ignore:.*cannot be captured")
@pytest.mark.parametrize("eager", [False, True], ids=["captured", "eager"])
@pytest.mark.parametrize("kind", LOSSES)
def test_an_epoch_and_its_validation(kind: str, eager: bool) -> None:
    loss, left_out = LOSSES[kind]
    data = _data(left_out)
    model = _model(eager)
    # Without a change of the weights the accuracies of all batches are those of one model.
    trainer = Trainer(model, SGD(lr=0.0), loss=loss(), progress=False, autotune=False)
    row = trainer.fit(DataLoader(TensorDataset(*data), BATCH), val=data, epochs=1).last
    expected = pytest.approx(_judged(model, data, left_out))
    assert (_part(row, "train_"), _part(row, "val_")) == (expected, expected)


@pytest.mark.parametrize("worth", [10**9, 1], ids=["few images", "many images"])
@pytest.mark.parametrize("kind", LOSSES)
def test_an_evaluation(kind: str, worth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proprelu.train.session.WORTH_CAPTURING", worth)
    loss, left_out = LOSSES[kind]
    data = _data(left_out)
    model = _model()
    got = Trainer(model, loss=loss(), progress=False).evaluate(TensorDataset(*data), 32)
    assert _part(got) == pytest.approx(_judged(model, data, left_out))


def test_without_any_label_that_counts_there_is_no_accuracy() -> None:
    images, _ = _data([])
    trainer = Trainer(_model(), loss=nn.CrossEntropyLoss(ignore_index=1), progress=False)
    got = trainer.evaluate(TensorDataset(images, torch.ones(COUNT, dtype=torch.long)))
    assert _part(got) == {"top1": None, "top5": None}


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(ignore_index=2)])
def test_a_batch_without_a_label_that_counts_is_named(loss: nn.CrossEntropyLoss) -> None:
    images, _ = _data([])
    labels = torch.full((COUNT,), loss.ignore_index)
    with pytest.raises(ValueError, match=r"got a batch in which it leaves out every one") as caught:
        Trainer(_model(), loss=loss, progress=False).fit((images, labels), epochs=1)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*cannot be captured")
@pytest.mark.parametrize("eager", [False, True], ids=["captured", "eager"])
def test_labels_that_are_not_finite_are_named(eager: bool) -> None:
    images, _ = _data([])
    labels = torch.rand(COUNT, CLASSES)
    labels[5, 1] = float("nan")
    trainer = Trainer(_model(eager), loss=nn.MSELoss(), progress=False)
    with pytest.raises(ValueError, match="labels must be finite numbers, got NaN"):
        trainer.fit((images, labels), epochs=1, batch_size=COUNT)
