"""The usual shape of the batches of a loader, found without reading anything twice."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from proprelu.data import TorchBatches
from proprelu.data.stream import FullStream, Stream
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

IMAGES = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 3, 2, 2)
DATA = TensorDataset(IMAGES, torch.arange(40))


class Sizes:
    """A batch sampler with batches of certain sizes."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for size in self.sizes:
            yield list(range(start, start + size))
            start += size

    def __len__(self) -> int:
        return len(self.sizes)


def _read(stream: Stream, epoch: int = 0) -> list[list[int]]:
    return [labels[0].tolist() for _, labels in stream.epoch(epoch)]


@pytest.mark.parametrize(
    ("sizes", "usual"),
    [
        ((2, 8, 8, 8, 3), 8),
        ((8, 8, 2), 8),
        ((1, 2, 3), 3),
        ((4, 4, 8), 4),
        ((5,), 5),
        ((2, 3, 2, 3), 3),
    ],
)
def test_the_usual_size_of_a_sampler_with_several_sizes(sizes: Any, usual: int) -> None:
    stream = Stream(TorchBatches(DataLoader(DATA, batch_sampler=Sizes(*sizes))))
    assert tuple(stream.example[0].shape) == (usual, 3, 2, 2)
    assert len(stream.example[1]) == usual
    assert len(stream) == len(sizes)
    for epoch in range(2):
        assert [len(batch) for batch in _read(stream, epoch)] == list(sizes)
        assert [i for batch in _read(stream, epoch) for i in batch] == list(range(sum(sizes)))


class Counted(IterableDataset[Any]):
    """Counts how often it is read, and how many images it gave."""

    def __init__(self, count: int = 20) -> None:
        self.count, self.begun, self.given = count, 0, 0

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        for index in range(self.count):
            self.given += 1
            yield DATA[index]


def test_nothing_is_read_twice() -> None:
    data = Counted()
    stream = Stream(TorchBatches(data, 8), steps=3)
    assert data.given == 8
    assert len(stream) == 3
    assert [len(batch) for batch in _read(stream)] == [8, 8, 4]
    assert (data.begun, data.given) == (1, 20)
    assert [len(batch) for batch in _read(stream, 1)] == [8, 8, 4]
    assert (data.begun, data.given) == (2, 40)


def test_data_without_a_length_are_counted_once() -> None:
    data = Counted()
    stream = Stream(TorchBatches(data, 8))
    assert len(stream) == len(stream) == 3
    assert data.begun == 2
    assert [len(batch) for batch in _read(stream)] == [8, 8, 4]


def test_an_epoch_ends_after_the_steps_that_are_given() -> None:
    stream = Stream(TorchBatches(Counted(10**9), 8), steps=2)
    assert [len(batch) for batch in _read(stream)] == [8, 8]


class Claiming(Counted):
    """Has another length than it says."""

    def __len__(self) -> int:
        return 8


@pytest.mark.parametrize(("data", "steps", "says"), [(Claiming(), None, 1), (Counted(), 5, 5)])
def test_a_wrong_length_is_told_once(data: Any, steps: int | None, says: int) -> None:
    stream = Stream(TorchBatches(data, 8), steps=steps)
    assert len(stream) == says
    with pytest.warns(UserWarning, match=f"an epoch has 3 batches, but .* says {says}"):
        _read(stream, 0)
    _read(stream, 1)


def test_data_that_can_be_read_only_once() -> None:
    class Once(IterableDataset[Any]):
        def __init__(self) -> None:
            self.items = iter(DATA)

        def __iter__(self) -> Iterator[Any]:
            return self.items

    stream = Stream(TorchBatches(Once(), 8))
    assert len(stream) == 4
    with pytest.raises(ValueError, match="give fit steps_per_epoch="):
        _read(stream)
    stream = Stream(TorchBatches(Once(), 8), steps=5)
    assert [len(batch) for batch in _read(stream)] == [8] * 5


def test_workers_that_persist() -> None:
    loader = DataLoader(DATA, 16, num_workers=1, persistent_workers=True)
    first, second = Stream(TorchBatches(loader)), Stream(TorchBatches(loader))
    for stream in (first, second, first):
        assert [i for batch in _read(stream) for i in batch] == list(range(40))


def test_only_batches_of_the_usual_shape() -> None:
    stream = FullStream(TorchBatches(DataLoader(DATA, batch_sampler=Sizes(2, 8, 8, 3))))
    with pytest.warns(
        UserWarning, match=r"5 of 21 images of an epoch are left out, .*\(8, 3, 2, 2"
    ):
        assert [len(batch) for batch in _read(stream)] == [8, 8]
    assert [len(batch) for batch in _read(stream, 1)] == [8, 8]
