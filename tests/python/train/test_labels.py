"""A loss gets whatever labels the data have, and inputs may have any number of axes."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from proprelu import SGD, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

RNG = torch.Generator().manual_seed(0)
IMAGES = torch.randn(14, 3, 8, 6, generator=RNG)


def _rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=RNG)


def _randint(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape, generator=RNG)


def _classifier(outputs: int = 5, channels: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, outputs),
    )


def _segmenter() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1))


class _Both(nn.Module):
    """Reads two labels, of which one weights the other."""

    def forward(self, output: Tensor, labels: Any) -> Tensor:
        losses = F.cross_entropy(output, labels["class"], reduction="none")
        return (losses * labels["weight"]).mean()


class _Mixed(nn.Module):
    """Mixed labels, with a share for the whole batch."""

    def forward(self, output: Tensor, labels: Any) -> Tensor:
        first, second = labels
        return 0.3 * F.cross_entropy(output, first) + 0.7 * F.cross_entropy(output, second)


ignored = _randint(4, 14, 8, 6)
ignored[_rand(14, 8, 6) < 0.3] = 255

# The labels, the loss, the network, and whether accuracies make sense.
KINDS: dict[str, tuple[Any, nn.Module, Callable[[], nn.Module], bool]] = {
    "masks": (_randint(4, 14, 8, 6), nn.CrossEntropyLoss(), _segmenter, False),
    "masks_with_ignored": (ignored, nn.CrossEntropyLoss(ignore_index=255), _segmenter, False),
    "targets": (_rand(14, 1), nn.MSELoss(), lambda: _classifier(1), False),
    "targets_in_float64": (_rand(14, 5).double(), nn.SmoothL1Loss(), _classifier, False),
    "several_classes": (_rand(14, 5).round(), nn.BCEWithLogitsLoss(), _classifier, False),
    "shares": (_rand(14, 5).softmax(1), nn.CrossEntropyLoss(), _classifier, False),
    "ignored": (torch.arange(14) % 5 - 1, nn.CrossEntropyLoss(ignore_index=-1), _classifier, True),
    "ignored_by_default": (
        torch.where(_rand(14) < 0.3, -100, _randint(5, 14)),
        nn.CrossEntropyLoss(),
        _classifier,
        True,
    ),
    "weighted": (
        _randint(5, 14),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9, 1, 0.1, 3])),
        _classifier,
        True,
    ),
    "int32": (_randint(5, 14).int(), nn.CrossEntropyLoss(), _classifier, True),
    "a_dict": ({"class": _randint(5, 14), "weight": _rand(14)}, _Both(), _classifier, False),
    "a_tuple": ((_randint(5, 14), _randint(5, 14)), _Mixed(), _classifier, False),
}


def _part(labels: Any, index: Any) -> Any:
    if isinstance(labels, dict):
        return {name: _part(value, index) for name, value in labels.items()}
    if isinstance(labels, tuple):
        return tuple(_part(value, index) for value in labels)
    value = labels[index]
    if value.dtype == torch.int32:
        return value.long()
    return value.float() if value.is_floating_point() else value


class _Data(torch.utils.data.Dataset[Any]):
    def __init__(self, images: Tensor, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], _part(self.labels, index)


def _plain(model: nn.Module, loss: nn.Module, images: Tensor, labels: Any, batch: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.train()
    for start in range(0, len(images), batch):
        index = slice(start, start + batch)
        optimizer.zero_grad()
        loss(model(images[index]), _part(labels, index)).backward()
        optimizer.step()


def _close(ours: nn.Module, theirs: nn.Module) -> None:
    expected = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5, msg=name)


def _trainer(model: nn.Module, **settings: Any) -> Trainer:
    optimizer = SGD(lr=0.1, momentum=0.9, weight_decay=0.0)
    return Trainer(model, optimizer, schedule="constant", progress=False, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_trains_like_plain_pytorch(kind: str) -> None:
    """Batches of 4, 4, 4 and 2: all are trained on, and the loss of all is measured."""
    labels, loss, make, classifies = KINDS[kind]
    torch.manual_seed(0)
    model = make()
    twin = copy.deepcopy(model)
    trainer = _trainer(model, loss=loss)
    loader = DataLoader(_Data(IMAGES, labels), 4)
    row = trainer.fit(loader, loader, epochs=1).last
    assert trainer.program is not None
    assert row["step"] == 4
    _plain(twin, loss, IMAGES, labels, 4)
    _close(model, twin)
    with torch.no_grad():
        output = twin.eval()(IMAGES)
        expected = loss(output, _part(labels, slice(None))).item()
    assert row["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert trainer.evaluate(loader)["loss"] == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(trainer.predict(IMAGES), output, rtol=1e-3, atol=1e-4)
    if classifies:
        known = labels >= 0
        hits = (output.argmax(1) == labels)[known].float().mean().item()
        assert row["val_top1"] == pytest.approx(hits)
    else:
        assert row["train_top1"] is row["val_top1"] is row["val_top5"] is None


INPUTS: dict[str, tuple[Tensor, Callable[[], nn.Module]]] = {
    "features": (_rand(12, 7), lambda: nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 5))),
    "signals": (
        _rand(12, 3, 30),
        lambda: nn.Sequential(
            nn.Conv1d(3, 8, 3),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        ),
    ),
    "narrow_images": (_rand(12, 8, 9, 2), lambda: _classifier(channels=8)),
    "volumes": (
        _rand(12, 2, 5, 6, 7),
        lambda: nn.Sequential(
            nn.Conv3d(2, 8, 3),
            nn.BatchNorm3d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        ),
    ),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_may_have_any_number_of_axes(kind: str) -> None:
    inputs, make = INPUTS[kind]
    labels = torch.arange(12) % 5
    torch.manual_seed(0)
    model = make()
    twin = copy.deepcopy(model)
    trainer = _trainer(model)
    loader = DataLoader(TensorDataset(inputs, labels), 4)
    row = trainer.fit(loader, loader, epochs=1).last
    assert trainer.program is not None
    _plain(twin, nn.CrossEntropyLoss(), inputs, labels, 4)
    _close(model, twin)
    output = twin.eval()(inputs).detach()
    torch.testing.assert_close(trainer.predict(inputs), output, rtol=1e-3, atol=1e-4)
    assert row["val_loss"] == pytest.approx(F.cross_entropy(output, labels).item(), rel=1e-4)
    assert row["val_top1"] == pytest.approx((output.argmax(1) == labels).float().mean().item())


@pytest.mark.parametrize("kind", ["masks", "targets", "a_dict"])
def test_arrays_with_any_labels(kind: str) -> None:
    """Arrays are normalized by their own mean and deviation, whatever the labels are."""
    labels, loss, make, _ = KINDS[kind]
    arrays = (
        {name: value.numpy() for name, value in labels.items()}
        if isinstance(labels, dict)
        else labels.numpy()
    )
    images = np.asarray(IMAGES * 3 + 20)
    torch.manual_seed(0)
    trainer = _trainer(make(), loss=loss)
    history = trainer.fit((images, arrays), (images, arrays), epochs=2, batch_size=7)
    assert history.last["step"] == 4
    normalized = (IMAGES - IMAGES.mean((0, 2, 3), keepdim=True)) / IMAGES.std(
        (0, 2, 3), keepdim=True, correction=0
    )
    with torch.no_grad():
        output = trainer.model.eval()(normalized)
    expected = loss(output, _part(labels, slice(None))).item()
    assert history.last["val_loss"] == pytest.approx(expected, rel=1e-3)
    torch.testing.assert_close(trainer.predict(images), output, rtol=1e-3, atol=1e-4)


REFUSED = [
    (_rand(14, 1), 1, r"integer labels \(N,\), .* got float32 \(N, 1\) .*nn.MSELoss"),
    (_rand(14), 5, r"integer labels \(N,\), .* got float32 \(N,\) .*nn.MSELoss"),
    (_rand(14, 5).round(), 5, "that sum to 1, got float32 .*nn.BCEWithLogitsLoss"),
    (_rand(14) > 0.5, 5, "got bool"),
    (_randint(5, 14, 1), 5, r"one integer for each prediction, got labels \(N, 1\)"),
    (_randint(5, 14, 8, 6), 5, r"one integer for each prediction, got labels \(N, 8, 6\)"),
    ((_randint(5, 14), _randint(5, 14)), 5, "takes one tensor of labels, got a .* of 2"),
    (_randint(3, 14) - 5, 5, "labels must be from 0"),
    (_randint(3, 14) + 4, 5, "labels must be from 0"),
]


@pytest.mark.parametrize(("labels", "outputs", "words"), REFUSED)
def test_the_default_loss_says_which_labels_it_takes(labels: Any, outputs: int, words: str) -> None:
    trainer = _trainer(_classifier(outputs))
    with pytest.raises(ValueError, match=words) as caught:
        trainer.fit(DataLoader(_Data(IMAGES, labels), 7), epochs=1)
    assert "\n" not in str(caught.value)


def test_a_label_that_the_loss_ignores_is_no_class() -> None:
    """And no warning says so: the outputs of the model decide."""
    labels = np.arange(14) % 5
    labels[::3] = 255
    trainer = _trainer(_classifier(), loss=nn.CrossEntropyLoss(ignore_index=255))
    row = trainer.fit((IMAGES, labels), epochs=1, batch_size=7).last
    assert row["train_top1"] is not None
    with pytest.raises(ValueError, match=r"have 256 classes .*255, is to be ignored"):
        _trainer(_classifier()).fit((IMAGES, labels), epochs=1, batch_size=7)


def test_gray_images_without_an_axis_of_channels() -> None:
    trainer = _trainer(_classifier(channels=1))
    with pytest.raises(ValueError, match=r"read as signals .* images\[:, None\]") as caught:
        trainer.fit((IMAGES[:, 0], torch.arange(14) % 5), epochs=1, batch_size=7)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [3, 5, 14])
def test_the_loss_of_an_evaluation_does_not_depend_on_the_size_of_its_batches(size: int) -> None:
    """Also if labels have weights, or are ignored: in whole batches too."""
    torch.manual_seed(0)
    model = _classifier()
    labels = torch.cat([torch.full((5,), -100), torch.arange(9) % 5])
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9, 1, 0.1, 3]))
    expected = loss(model.eval()(IMAGES), labels).item()
    found = Trainer(model, loss=loss, progress=False).evaluate(
        DataLoader(TensorDataset(IMAGES, labels), size)
    )
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    plain = Trainer(model, progress=False).evaluate(DataLoader(TensorDataset(IMAGES, labels), size))
    expected = F.cross_entropy(model(IMAGES), labels).item()
    assert plain["loss"] == pytest.approx(expected, rel=1e-5)
