"""Batches that are made on the device or copied to it match those on the CPU."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from cuda_trainings import (
    CLASSES,
    Arrays,
    arrays,
    assert_close,
    assert_same,
    batches,
    losses,
    measures,
    small,
    stream,
    tensors,
    trainer,
)
from proprelu import Augment
from proprelu.train.device.device import Device
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler

AUGMENT = Augment(pad=2, flip=True, cutout=3)


class Items(Dataset[Any]):
    """A data set of single images and labels."""

    def __init__(self, count: int = 32, labels: Tensor | None = None) -> None:
        self.images, self.labels = tensors(count)
        if labels is not None:
            self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


def _as_on_the_cpu(device: Device, make_data: Callable[[], Any], **fit: Any) -> None:
    """Train on the device and on the CPU with the same seed, and compare."""
    results = []
    for place in (device, "cpu"):
        model = small()
        training = trainer(model, place, seed=3)
        training.fit(make_data(), **{"epochs": 2, "batch_size": 8, **fit})
        results.append((measures(training), model.state_dict()))
    (ours, here), (theirs, there) = results
    for own, other in zip(ours, theirs, strict=True):
        assert own == pytest.approx(other, rel=1e-4)
    assert_close(here, there)


def _float_arrays() -> Arrays:
    images, labels = tensors()
    return images.numpy(), labels.numpy()


@pytest.mark.parametrize("make_data", [arrays, _float_arrays], ids=["uint8", "float"])
def test_images_in_memory(device: Device, make_data: Callable[[], Arrays]) -> None:
    _as_on_the_cpu(device, make_data, augment=AUGMENT, val=arrays(11, seed=1))


def test_images_in_memory_that_are_streamed(device: Device) -> None:
    """With ``stream`` the CPU makes the same batches."""
    results = []
    for stream_them in (False, True):
        model = small()
        training = trainer(model, device)
        training.fit(arrays(), epochs=2, batch_size=8, augment=AUGMENT, stream=stream_them)
        results.append((losses(training), model.state_dict()))
    (ours, here), (theirs, there) = results
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert_same(here, there, device)


def test_fewer_images_than_a_batch(device: Device) -> None:
    _as_on_the_cpu(device, lambda: arrays(5), batch_size=16, augment=AUGMENT)


def test_labels_of_other_types(device: Device) -> None:
    images, labels = arrays(16)
    _as_on_the_cpu(device, lambda: (images, labels.astype(np.uint8)), epochs=1)


def test_labels_of_other_types_in_a_stream(device: Device) -> None:
    data = Items(16)
    data.labels = data.labels.to(torch.int32)
    _as_on_the_cpu(device, lambda: DataLoader(data, 8), epochs=1)


def test_a_loader_of_torch(device: Device) -> None:
    val = DataLoader(Items(11), 4)
    _as_on_the_cpu(device, lambda: DataLoader(Items(30), 8, drop_last=True), val=val)


def test_a_smaller_batch_is_left_out_with_a_warning(device: Device) -> None:
    training = trainer(small(), device)
    with pytest.warns(UserWarning, match="6 of 30 images of an epoch are left out") as caught:
        training.fit(DataLoader(Items(30), 8), epochs=2)
    assert len(caught) == 1
    other = trainer(small(), "cpu")
    other.fit(DataLoader(Items(30), 8, drop_last=True), epochs=2)
    assert losses(training) == pytest.approx(losses(other), rel=1e-4)


def test_a_dataset_of_torch(device: Device) -> None:
    _as_on_the_cpu(device, Items, val=Items(11))


def test_a_stream_matches_images_in_memory(device: Device) -> None:
    """The images of the stream are in the order of the core's loader."""
    data, results = arrays(), []
    (epoch,) = batches(data, 8, epochs=1)
    images, labels = (torch.cat(parts) for parts in zip(*epoch, strict=True))
    for source in (data, stream(images, labels)):
        model = small()
        training = trainer(model, device)
        training.fit(source, epochs=1, batch_size=8)
        results.append((losses(training), model.state_dict()))
    (ours, here), (theirs, there) = results
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert_same(here, there, device)


class Whole(Dataset[Any]):
    """A data set of whole batches."""

    def __init__(self) -> None:
        self.items = Items()

    def __len__(self) -> int:
        return len(self.items) // 8

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index >= len(self):
            raise IndexError(index)
        return self.items[slice(8 * index, 8 * index + 8)]


def test_a_loader_of_whole_batches(device: Device) -> None:
    """It trains like a loader that collates the same batches, with the same rates."""
    for place in (device, "cpu"):
        results = []
        for loader in (DataLoader(Whole(), batch_size=None), DataLoader(Items(), 8)):
            model = small()
            training = trainer(model, place)
            training.fit(loader, epochs=2)
            results.append((measures(training), model.state_dict()))
        (ours, here), (theirs, there) = results
        for own, other in zip(ours, theirs, strict=True):
            assert own == pytest.approx(other, rel=1e-4)
        assert_same(here, there, place)


def test_a_sampler_that_is_longer_than_the_dataset(device: Device) -> None:
    """A sampler that draws rare classes more often is an example."""

    def drawn() -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(5)
        sampler = RandomSampler(Items(16), True, num_samples=48, generator=generator)
        return DataLoader(Items(16), 8, sampler=sampler)

    _as_on_the_cpu(device, drawn)


class Stream(IterableDataset[Any]):
    """Yields 32 images, whatever its length."""

    def __init__(self, says: int) -> None:
        self.says = says

    def __len__(self) -> int:
        return self.says

    def __iter__(self) -> Iterator[Any]:
        return zip(*tensors(32), strict=True)


@pytest.mark.filterwarnings("ignore:an epoch has .* batches:UserWarning")
@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
@pytest.mark.parametrize("says", [8, 32, 80])
def test_a_stream_that_is_longer_or_shorter_than_its_length(device: Device, says: int) -> None:
    _as_on_the_cpu(device, lambda: DataLoader(Stream(says), 8))


def test_a_label_without_an_output_of_the_model(device: Device) -> None:
    data = Items(16, torch.arange(16) % (CLASSES + 1))
    for place in (device, "cpu"):
        with pytest.raises(ValueError, match=f"labels must be from 0 to {CLASSES - 1}") as caught:
            trainer(small(), place).fit(DataLoader(data, 8), epochs=1)
        assert "\n" not in str(caught.value)


def test_images_that_change_their_size(device: Device) -> None:
    class Growing(Items):
        def __getitem__(self, index: int | slice) -> tuple[Tensor, Tensor]:
            images, labels = super().__getitem__(index)
            return images.repeat(1, 1 + (index == 15), 1), labels

    training = trainer(small(), device)
    with pytest.warns(UserWarning, match="1 of 16 images of an epoch are left out"):
        training.fit(DataLoader(Growing(16), 1), epochs=1)
    assert training.history.last["step"] == 15
