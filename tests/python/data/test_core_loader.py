"""The core's Loader against plain PyTorch and against itself."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from proprelu import Augment
from proprelu._core import Dataset, Loader

# One entry for each thread of this process.
TASKS = Path("/proc/self/task")
MEAN, STD = (0.2, 0.5, 0.7), (0.3, 0.2, 0.9)


def make_dataset(images: int = 50, height: int = 6, width: int = 9) -> Dataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, height, width, 3), np.uint8)
    return Dataset.from_u8(pixels, np.arange(images, dtype=np.int64))


def test_normalizes_as_torchvision_does() -> None:
    from torchvision.transforms import Compose, Normalize, ToTensor

    dataset = make_dataset()
    transform = Compose([ToTensor(), Normalize(MEAN, STD)])
    loader = Loader(dataset, 8, augment=Augment(mean=MEAN, std=STD).to_dict())
    assert len(loader) == 7
    for images, labels in loader:
        for image, label in zip(images, labels, strict=True):
            expected = transform(dataset[int(label)][0])
            torch.testing.assert_close(
                torch.from_numpy(image).permute(2, 0, 1), expected, rtol=0, atol=0
            )


def test_every_image_is_a_crop_of_the_padded_one() -> None:
    """Every augmented image equals some crop of the zero-padded image, flipped or not."""
    dataset, pad = make_dataset(20), 2
    loader = Loader(dataset, 7, shuffle=True, augment=Augment(pad=pad, flip=True).to_dict())
    _, height, width, _ = dataset.shape
    seen = set()
    for _ in range(5):
        for images, labels in loader:
            for image, label in zip(images, labels, strict=True):
                source = torch.from_numpy(dataset[int(label)][0]).permute(2, 0, 1) / 255
                padded = F.pad(source, [pad] * 4)
                crops = {
                    (y, x, flip): crop.flip(2) if flip else crop
                    for y in range(2 * pad + 1)
                    for x in range(2 * pad + 1)
                    for flip in (False, True)
                    for crop in [padded[:, y : y + height, x : x + width]]
                }
                got = torch.from_numpy(image).permute(2, 0, 1)
                matches = [key for key, crop in crops.items() if torch.equal(crop, got)]
                assert len(matches) == 1
                seen.add(matches[0])
    assert len(seen) > 30  # of 50 crops, in 100 draws


def test_padding_is_black_and_cutout_is_the_mean() -> None:
    white = Dataset.from_u8(np.full((64, 8, 8, 1), 255, np.uint8), np.zeros(64, np.int64))
    settings = {"mean": [0.25], "std": [0.5]}
    (padded, _), *_ = Loader(white, 64, augment=Augment(pad=3, **settings).to_dict())
    assert set(np.unique(padded)) == {-0.5, 1.5}
    (cut, _), *_ = Loader(white, 64, augment=Augment(cutout=4, **settings).to_dict())
    assert set(np.unique(cut)) == {0.0, 1.5}
    holes = (cut == 0).sum((1, 2, 3))
    assert holes.max() == 16
    assert holes.min() >= 4


def test_order_is_fixed_by_seed_and_epoch() -> None:
    dataset, settings = make_dataset(), Augment(pad=2, flip=True, cutout=3).to_dict()

    def images(seed: int, epoch: int, batch_size: int = 8) -> np.ndarray:
        loader = Loader(dataset, batch_size, shuffle=True, seed=seed, augment=settings)
        return np.concatenate([images for images, _ in loader.epoch(epoch)])

    first = images(1, 3)
    np.testing.assert_array_equal(images(1, 3), first)
    np.testing.assert_array_equal(images(1, 3, batch_size=50), first)
    assert not np.array_equal(images(1, 4), first)
    assert not np.array_equal(images(2, 3), first)
    loader = Loader(dataset, 8, shuffle=True, seed=1, augment=settings)
    for epoch in range(4):  # plain iteration counts the epochs
        in_turn = np.concatenate([images for images, _ in loader])
        np.testing.assert_array_equal(in_turn, images(1, epoch))


@pytest.mark.skipif(not TASKS.is_dir(), reason="needs Linux")
def test_leaving_an_epoch_early_ends_its_thread() -> None:
    loader = Loader(make_dataset(), 1, shuffle=True)

    def threads() -> int:
        return len(list(TASKS.iterdir()))

    before = threads()
    for epoch in range(30):
        batches = loader.epoch(epoch)
        next(batches)
        del batches
    assert threads() <= before


def test_waits_without_the_gil() -> None:
    """Another Python thread runs while the loader waits for a batch."""
    loader = Loader(make_dataset(400, 64, 64), 400, augment=Augment(pad=4).to_dict())
    ticks, stop = [0], threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks[0]
    next(iter(loader))
    after = ticks[0]
    stop.set()
    thread.join()
    assert after > before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 51, "drop_last": True}, "from 1 to 50 for 50 images with drop_last"),
        ({"batch_size": 4, "augment": {"pad": 10}}, "pad must be in .*, got 10"),
        ({"batch_size": 4, "augment": {"cutout": 99}}, "cutout must be in .*, got 99"),
        ({"batch_size": 4, "augment": {"padding": 1}}, "augment settings: unknown field"),
        ({"batch_size": 4, "augment": {"mean": [0.5]}}, "one number for each of the 3 channels"),
        ({"batch_size": 4, "augment": {"std": [1, 1, 0]}}, "std must be finite and positive"),
    ],
)
def test_refuses_settings(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(make_dataset(), **arguments)  # type: ignore[arg-type]
