"""TorchBatches: the batches of torch's loader, checked and repeatable."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from proprelu import as_dataset
from proprelu.data import TorchBatches
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset


class Items(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def numbered(count: int = 10) -> Items:
    return Items([(torch.full((3, 6, 8), float(i)), i) for i in range(count)])


def test_batches_of_a_dataset() -> None:
    batches = as_dataset(numbered(), batch_size=4)
    assert isinstance(batches, TorchBatches)
    assert len(batches) == 3
    for _ in range(2):
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert labels.tolist() == list(range(10))
        torch.testing.assert_close(images[:, 0, 0, 0], labels.float())
    assert len(TorchBatches(numbered(), 4, drop_last=True)) == 2


def test_order_is_fixed_by_seed_and_epoch() -> None:
    def order(batches: TorchBatches, epoch: int | None = None) -> list[int]:
        iterator = iter(batches) if epoch is None else batches.epoch(epoch)
        return [int(label) for _, labels in iterator for label in labels]

    def shuffled(seed: int) -> TorchBatches:
        return TorchBatches(numbered(40), 7, shuffle=True, seed=seed)

    state = torch.random.get_rng_state()
    batches = shuffled(0)
    first, second = order(batches), order(batches)
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second
    assert order(shuffled(0), 1) == second
    assert order(shuffled(1), 0) != first
    assert order(shuffled(2**32), 0) != first
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_loader_is_used_unchanged() -> None:
    loader = DataLoader(numbered(), batch_size=3, sampler=range(9, -1, -1))
    batches = as_dataset(loader)
    assert isinstance(batches, TorchBatches)
    assert as_dataset(batches) is batches
    assert next(labels.tolist() for _, labels in batches) == [9, 8, 7]
    assert len(batches) == 4


def test_a_distributed_sampler_gets_the_epoch() -> None:
    sampler = DistributedSampler(numbered(20), num_replicas=2, rank=0)
    batches = TorchBatches(DataLoader(numbered(20), 10, sampler=sampler))
    epochs = [next(iter(batches))[1].tolist() for _ in range(3)]
    assert epochs[0] != epochs[1]


def test_streams_have_no_length() -> None:
    batches = TorchBatches(Stream(numbered(5).items), 2, shuffle=True)
    assert [len(labels) for _, labels in batches] == [2, 2, 1]
    with pytest.raises(TypeError):
        len(batches)


def test_uint8_and_gray_images() -> None:
    u8 = torch.randint(0, 256, (6, 8, 3), dtype=torch.uint8)
    ((images, _),) = TorchBatches(Items([(u8, 0)]))
    torch.testing.assert_close(images[0], u8.permute(2, 0, 1) / 255)
    gray = torch.randint(0, 256, (6, 8), dtype=torch.uint8)
    ((images, _),) = TorchBatches(Items([(gray, 0)]))
    torch.testing.assert_close(images[0, 0], gray / 255)
    signal = torch.rand(6, 8, dtype=torch.float64)
    ((images, _),) = TorchBatches(Items([(signal, 0)]))
    torch.testing.assert_close(images[0], signal.float())


IMAGE = torch.zeros(3, 6, 8)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([(IMAGE, 0), (IMAGE[:, :4], 1)], r"of one size, got \[3, 6, 8\] at entry 0 and \[3, 4, 8"),
        ([(IMAGE, 0), (IMAGE, 5)], "labels must be from 0 to 4, .* got 5"),
        ([(IMAGE, 0), (IMAGE, -1)], "labels must be from 0 to 4, .* got -1"),
        ([(IMAGE, "cat")], "labels of a batch must be a tensor, got str"),
        ([(IMAGE, 1j)], "must be tensors, arrays or numbers, got complex"),
        ([(IMAGE, torch.tensor(1j))], "labels must be integers, floats or bool, got complex64"),
        ([(IMAGE, Path())], "must be tensors, arrays or numbers, got pathlib.*ToTensor"),
        ([(IMAGE + torch.inf, 1)], "images must be finite, got NaN or infinity in 1 of 1 images"),
        ([(IMAGE.to_sparse(), 0)], "images must be dense tensors, got sparse ones"),
        ([IMAGE], "must be a pair .* got Tensor"),
        ([(IMAGE, 0, 1)], "must be a pair .* got list of 3"),
        ([{"image": IMAGE, "label": 0}], "must be a pair .* got dict of 2"),
        ([(IMAGE.long(), 0)], "images must be uint8 .* got int64; convert them with images.float"),
        ([(IMAGE.to(torch.complex64), 0)], "images must be uint8 .* got complex64"),
        ([(IMAGE[0, 0, 0], 0)], r"the shape \(n, c, h, w\), .* got \(1,\)"),
    ],
)
def test_refuses_batches(items: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        list(TorchBatches(Items(items), num_classes=5))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("label", "dtype"),
    [
        (3, torch.int64),
        (0.5, torch.float32),
        (torch.tensor(3, dtype=torch.uint8), torch.int64),
        (torch.rand(4, 4).half(), torch.float32),
        (torch.ones(5, dtype=torch.bool), torch.bool),
    ],
)
def test_labels_of_any_kind(label: Any, dtype: torch.dtype) -> None:
    ((_, labels),) = TorchBatches(Items([(IMAGE, label)] * 3))
    assert labels.dtype == dtype
    expected = torch.stack([torch.as_tensor(label)] * 3).to(dtype)
    torch.testing.assert_close(labels, expected)


def test_several_labels() -> None:
    item = {"number": 1, "scores": torch.rand(4)}
    ((_, labels),) = TorchBatches(Items([(IMAGE, item)] * 3))
    assert labels["number"].tolist() == [1] * 3
    torch.testing.assert_close(labels["scores"], torch.stack([item["scores"]] * 3))


def test_a_dataset_that_is_smaller_than_a_batch_is_one_batch() -> None:
    assert [len(labels) for _, labels in TorchBatches(numbered(5), 8, drop_last=True)] == [5]


def test_refuses_empty_data() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        as_dataset(Items([]))
    for data in (Stream([]), DataLoader(numbered(3), 4, drop_last=True)):
        with pytest.raises(ValueError, match="gave no batch"):
            list(TorchBatches(data))


def test_negative_labels_and_lengths_without_num_classes() -> None:
    ((_, labels),) = TorchBatches(Items([(IMAGE, -1)]))
    assert labels.tolist() == [-1]
    loader = DataLoader(
        numbered(4),
        2,
        collate_fn=lambda items: (torch.stack([i for i, _ in items]), torch.zeros(1).long()),
    )
    with pytest.raises(ValueError, match="got 1 labels and 2 images"):
        list(TorchBatches(loader))


def test_other_errors_of_the_data_reach_the_caller() -> None:
    class Broken(Items):
        def __getitem__(self, index: int) -> Any:
            raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="the disk is on fire"):
        list(TorchBatches(Broken([0])))
