"""Validation, ``evaluate`` and ``predict`` match PyTorch in evaluation mode."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from cuda_trainings import (
    Arrays,
    arrays,
    assert_same,
    normalized,
    small,
    stream,
    tensors,
    trainer,
)
from proprelu import SGD, Augment, CrossEntropy, Trainer, as_dataset
from proprelu.train.device.device import Device
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

TRAIN = arrays(16)


def _trained(device: Device | str, val: Any = None, **settings: Any) -> tuple[nn.Module, Trainer]:
    """A model trained for two steps, validated in batches of 16."""
    model = small()
    training = trainer(model, device, **settings)
    training.fit(TRAIN, val, epochs=1, batch_size=8)
    return model, training


def _scores(model: nn.Module, images: Any) -> Tensor:
    exact = copy.deepcopy(model).cpu().double().eval()
    with torch.no_grad():
        scores: Tensor = exact(normalized(images, TRAIN))
    return scores


def _judged(scores: Tensor, labels: Any, smoothing: float = 0.0) -> dict[str, float]:
    """There are only four classes, so top5 is always 1."""
    target = torch.from_numpy(labels)
    loss = F.cross_entropy(scores, target, label_smoothing=smoothing).item()
    return {"loss": loss, "top1": (scores.argmax(1) == target).double().mean().item(), "top5": 1.0}


def _last_val(training: Trainer) -> dict[str, Any]:
    row = training.history.last
    return {name: row[f"val_{name}"] for name in ("loss", "top1", "top5")}


@pytest.mark.parametrize("count", [3, 100])
def test_validation(device: Device, count: int) -> None:
    """A batch that is not full; more batches than are run before a graph is captured."""
    images, labels = val = arrays(count, seed=1)
    model, training = _trained(device, val)
    assert _last_val(training) == pytest.approx(_judged(_scores(model, images), labels), rel=1e-4)
    _, other = _trained("cpu", val)
    assert _last_val(training) == pytest.approx(_last_val(other), rel=1e-4)


def test_validation_uses_the_averages(device: Device) -> None:
    images, labels = val = arrays(20, seed=1)
    model, training = _trained(device, val, ema_decay=0.5, loss=CrossEntropy(0.1))
    averaged = copy.deepcopy(model)
    averaged.load_state_dict(training.ema_state_dict())
    expected = _judged(_scores(averaged, images), labels, smoothing=0.1)
    assert _last_val(training) == pytest.approx(expected, rel=1e-4)
    assert training.evaluate(val, batch_size=7) == pytest.approx(expected, rel=1e-4)


def test_validation_changes_nothing(device: Device) -> None:
    ours, training = _trained(device, arrays(20, seed=1), ema_decay=0.5)
    theirs, other = _trained(device, None, ema_decay=0.5)
    assert_same(ours.state_dict(), theirs.state_dict(), device)
    assert_same(training.ema_state_dict(), other.ema_state_dict(), device)


def test_validation_of_a_stream(device: Device) -> None:
    images, labels = arrays(11, seed=1)
    floats = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    pairs = TensorDataset(floats, torch.from_numpy(labels))
    model, training = _trained(device, DataLoader(pairs, 4))
    assert _last_val(training) == pytest.approx(_judged(_scores(model, images), labels), rel=1e-4)


@pytest.mark.parametrize("batch_size", [2, 16])
def test_evaluate(device: Device, batch_size: int) -> None:
    images, labels = arrays(9, seed=1)
    model, training = _trained(device)
    before = copy.deepcopy(model.state_dict())
    ours = training.evaluate((images, labels), batch_size)
    assert ours == pytest.approx(_judged(_scores(model, images), labels), rel=1e-4)
    assert_same(model.state_dict(), before, "cpu")


@pytest.mark.parametrize("batch_size", [4, 16])
def test_predict(device: Device, batch_size: int) -> None:
    """Predictions for pixels, and for floats, which are normalized alike."""
    model, training = _trained(device)
    images, _ = arrays(9, seed=1)
    expected = _scores(model, images)
    floats = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    for given in (images, floats):
        ours = training.predict(given, batch_size)
        assert (ours.device.type, ours.dtype) == ("cpu", torch.float32)
        torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(training.predict(floats[:1]), training.predict(floats[:1]))


def test_before_any_training(device: Device) -> None:
    """Images are normalized by a mean and deviation that are stated."""
    images, labels = arrays(9)
    mean, std = as_dataset(images, labels).mean_std()
    stated = Augment(mean=mean, std=std)
    model = small()
    training = trainer(model, device)
    exact = copy.deepcopy(model).cpu().double().eval()
    scores = exact(normalized(images, (images, labels))).detach()
    judged = training.evaluate((images, labels), batch_size=16, normalize=stated)
    assert judged == pytest.approx(_judged(scores, labels), rel=1e-4)
    found = training.predict(images, normalize=stated).double()
    torch.testing.assert_close(found, scores, rtol=1e-4, atol=1e-5)


def test_bf16(device: Device) -> None:
    images, labels = arrays(20, seed=1)
    results = []
    for place in (device, "cpu"):
        _, training = _trained(place, (images, labels), precision="bf16")
        results.append((_last_val(training), training.evaluate((images, labels), 7)))
        assert training.predict(images).dtype == torch.float32
    (ours, evaluated), (theirs, _) = results
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.02)
    assert evaluated["loss"] == pytest.approx(ours["loss"], rel=0.01)


def test_a_training_continues_after_an_evaluation(device: Device) -> None:
    """Copies of parameters that programs keep are updated."""
    images, labels = val = arrays(9, seed=1)
    model, training = _trained(device)
    for _ in range(2):
        training.fit(TRAIN, epochs=1, batch_size=8)
        expected = _judged(_scores(model, images), labels)
        assert training.evaluate(val, batch_size=9) == pytest.approx(expected, rel=1e-4)


def test_a_label_without_an_output(device: Device) -> None:
    images, _ = arrays(9)
    wrong: Arrays = (images, np.arange(9))
    for place in (device, "cpu"):
        _, training = _trained(place)
        with pytest.raises(ValueError, match="labels must be from 0 to 3"):
            training.evaluate(wrong)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "loss",
    [nn.CrossEntropyLoss(ignore_index=2), nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.0, 1.0]))],
    ids=["ignored", "without weight"],
)
def test_what_a_loss_leaves_out_counts_in_no_accuracy(
    device: Device, loss: nn.CrossEntropyLoss, streamed: bool
) -> None:
    """As on the CPU, where it is compared with PyTorch."""

    def top1(device: Device | str) -> list[Any]:
        training = trainer(small(), device, SGD(lr=0.0), loss=copy.deepcopy(loss))
        data: Any = stream(*tensors()) if streamed else arrays(32)
        row = training.fit(data, arrays(20, seed=1), epochs=1, batch_size=8).last
        return [row["train_top1"], row["val_top1"]]

    assert top1(device) == top1("cpu")
