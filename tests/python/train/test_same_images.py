"""Images are treated alike in ``fit``, ``evaluate`` and ``predict``, in whatever form they come."""

from typing import Any

import numpy as np
import pytest
import torch
from proprelu import Augment, Trainer, as_dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

RNG = np.random.default_rng(0)
U8 = RNG.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(40) % 2
FLOATS = torch.from_numpy(U8).permute(0, 3, 1, 2).float()
IN_UNIT = FLOATS / 255


def _trainer() -> Trainer:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    return Trainer(model, progress=False)


def _normalized(images: Tensor) -> Tensor:
    mean, std = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    return (images - mean) / std


class Items(Dataset[Any]):
    def __init__(self, images: Any) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], int(LABELS[index])


def _forms(images: Tensor) -> dict[str, Any]:
    labels = torch.from_numpy(LABELS)
    return {
        "pair": (images, labels),
        "arrays": (images.numpy(), LABELS),
        "tensor_dataset": TensorDataset(images, labels),
        "subset": Subset(TensorDataset(images, labels), range(40)),
        "items": Items(images),
        "loader": DataLoader(TensorDataset(images, labels), 16),
        "core": as_dataset(images, labels),
    }


@pytest.mark.parametrize(
    ("train", "images"),
    [((FLOATS, LABELS), FLOATS), ((FLOATS.numpy(), LABELS), FLOATS), ((U8, LABELS), IN_UNIT)],
    ids=["tensors", "arrays", "uint8"],
)
def test_what_fit_normalized_is_normalized_in_every_form(train: Any, images: Tensor) -> None:
    trainer = _trainer()
    trainer.fit(train, epochs=1, batch_size=20)
    with torch.no_grad():
        expected = trainer.model.eval()(_normalized(images))
    top1 = (expected.argmax(1) == torch.from_numpy(LABELS)).float().mean().item()
    loss = nn.functional.cross_entropy(expected, torch.from_numpy(LABELS)).item()
    for data in (*_forms(images).values(), train):
        measured = trainer.evaluate(data)
        assert (measured["top1"], measured["loss"]) == pytest.approx((top1, loss), rel=0.05)
    close = {"rtol": 0.05, "atol": 0.05}
    for data in (images, images.numpy(), list(images), *_forms(images).values(), train[0]):
        torch.testing.assert_close(trainer.predict(data), expected, **close)
    raw = trainer.predict(images, normalize=False)
    torch.testing.assert_close(raw, trainer.model(images).detach(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("train", ["tensor_dataset", "subset", "items", "loader"])
def test_what_fit_used_as_it_is_is_used_as_it_is_in_every_form(train: str) -> None:
    images = _normalized(FLOATS)
    trainer = _trainer()
    trainer.fit(_forms(images)[train], epochs=1, batch_size=20)
    expected = trainer.model.eval()(images).detach()
    loss = nn.functional.cross_entropy(expected, torch.from_numpy(LABELS)).item()
    close = {"rtol": 1e-3, "atol": 1e-4}
    for data in _forms(images).values():
        assert trainer.evaluate(data)["loss"] == pytest.approx(loss, rel=1e-4)
        torch.testing.assert_close(trainer.predict(data), expected, **close)
    torch.testing.assert_close(trainer.predict(images), expected, **close)


def test_validation_images_are_treated_like_the_training_images() -> None:
    trainer = _trainer()
    loader = DataLoader(TensorDataset(FLOATS, torch.from_numpy(LABELS)), 20)
    history = trainer.fit((U8, LABELS), (U8, LABELS), epochs=1, batch_size=20)
    assert history.last["val_loss"] == trainer.evaluate((U8, LABELS))["loss"]
    history = _trainer().fit(loader, (FLOATS.numpy(), LABELS), epochs=1)
    expected = _trainer()
    assert history.last["val_loss"] == expected.fit(loader, loader, epochs=1).last["val_loss"]


def test_images_in_other_units_are_noticed() -> None:
    trainer = _trainer()
    labels = torch.from_numpy(LABELS)
    trainer.fit(DataLoader(TensorDataset(_normalized(IN_UNIT), labels), 20), epochs=1)
    with pytest.warns(UserWarning, match=r"mean 0\.5 and deviation 0\.29, and was trained on"):
        trainer.evaluate((U8, LABELS))
    trainer = _trainer()
    trainer.fit((U8, LABELS), epochs=1, batch_size=20)
    normalized = DataLoader(TensorDataset(_normalized(IN_UNIT), labels), 20)
    with pytest.warns(UserWarning, match="normalize=False") as caught:
        trainer.evaluate(normalized)
    assert caught[0].filename == __file__
    trainer.evaluate(normalized, normalize=False)


def test_a_normalization_that_is_given_is_repeated() -> None:
    trainer = _trainer()
    augment = Augment(mean=[0.2, 0.3, 0.4], std=[0.5, 0.6, 0.7])
    trainer.fit((U8, LABELS), epochs=1, batch_size=20, augment=augment)
    normalized = (IN_UNIT - torch.tensor(augment.mean)[:, None, None]) / torch.tensor(augment.std)[
        :, None, None
    ]
    expected = trainer.model.eval()(normalized).detach()
    for data in (U8, IN_UNIT, DataLoader(Items(IN_UNIT), 16)):
        torch.testing.assert_close(trainer.predict(data), expected, rtol=1e-3, atol=1e-4)


def test_without_a_training_images_are_used_as_they_are() -> None:
    trainer = _trainer()
    expected = trainer.model.eval()(IN_UNIT).detach()
    for data in (IN_UNIT, DataLoader(Items(IN_UNIT), 16)):
        torch.testing.assert_close(trainer.predict(data), expected, rtol=1e-3, atol=1e-4)
    for call in (lambda: trainer.predict(U8), lambda: trainer.evaluate((U8, LABELS))):
        with pytest.warns(UserWarning, match="uint8 images are only scaled to 0..1"):
            call()
    torch.testing.assert_close(trainer.predict(U8, normalize=False), expected, rtol=1e-3, atol=1e-4)
    found = trainer.predict(U8, normalize=Augment(mean=[0.5] * 3, std=[0.25] * 3))
    expected = trainer.model((IN_UNIT - 0.5) / 0.25).detach()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (U8[..., 0], r"3 channels as in the training, got the shape \(40, 1, 8, 8\)"),
        (U8[0], r"3 channels as in the training, .* images\[None\]"),
        (FLOATS[0], r"3 channels as in the training, .* images\[None\]"),
        (None, "images must be an array, a tensor.* got NoneType"),
        ("images", "images must be an array, a tensor.* got str"),
        ([], "at least one image"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: Any, words: str) -> None:
    trainer = _trainer()
    trainer.fit((U8, LABELS), epochs=1, batch_size=20)
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        trainer.predict(images)
    assert "\n" not in str(caught.value)


def test_gray_validation_images_for_a_color_network() -> None:
    with pytest.raises(ValueError, match="images must have 3 channels as in the training"):
        _trainer().fit((U8, LABELS), (U8[..., 0], LABELS), epochs=1, batch_size=20)


@pytest.mark.parametrize("augment", [{"flip": True}, "flip", True])
def test_augmentation_of_another_type_is_refused(augment: Any) -> None:
    with pytest.raises(TypeError, match="augment must be an Augment, got"):
        _trainer().fit((U8, LABELS), epochs=1, augment=augment)
