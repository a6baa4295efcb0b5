"""A training uses all batches of a loader, of whatever size, like a plain loop."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from proprelu import SGD, OneCycle, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

IMAGES = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 5
DATA = TensorDataset(IMAGES, LABELS)


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


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(DATA)


class Growing(Dataset[Any]):
    """Images whose size differs from batch to batch."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Any:
        size = 8 if index // 4 != 1 else 6
        return IMAGES[index, :, :size, :size], index % 5


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


def _plain(model: nn.Module, data: Any, epochs: int) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    means = []
    for _ in range(epochs):
        total = count = 0.0
        for images, labels in data:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * len(labels), count + len(labels)
        means.append(total / count)
    return means


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("data", "steps"),
    [
        (lambda: DataLoader(DATA, batch_sampler=Sizes(2, 8, 8, 8)), 4),
        (lambda: DataLoader(DATA, 16), 3),
        (lambda: DataLoader(DATA, 16, drop_last=True), 2),
        (lambda: DataLoader(DATA, 64), 1),
        (lambda: DataLoader(Stream(), 16), 3),
        (lambda: DataLoader(Growing(), 4), 4),
    ],
    ids=["buckets", "smaller_last", "dropped_last", "one_batch", "stream", "sizes_of_images"],
)
def test_trains_like_a_plain_loop(data: Any, steps: int, precision: str) -> None:
    model = _model()
    twin = copy.deepcopy(model).train()
    optimizer = SGD(lr=0.1, momentum=0.9, weight_decay=0.0)
    trainer = Trainer(
        model, optimizer, schedule="constant", precision=precision, ema_decay=0.5, progress=False
    )
    history = trainer.fit(data(), epochs=2)
    assert trainer.program is not None
    assert history.column("step") == [steps, 2 * steps]
    expected = _plain(twin, data(), epochs=2)
    loose = precision == "bf16"
    assert history.column("train_loss") == pytest.approx(expected, rel=0.02 if loose else 1e-4)
    close = {"rtol": 0.1, "atol": 0.02} if loose else {"rtol": 1e-3, "atol": 1e-5}
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, twin.state_dict()[name], **close)


def test_the_schedule_counts_all_batches() -> None:
    trainer = Trainer(_model(), SGD(lr=0.1), schedule=OneCycle(), progress=False)
    history = trainer.fit(Stream(), epochs=2, batch_size=16)
    parameters = [torch.zeros(1, requires_grad=True)]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=6)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert history.column("lr") == pytest.approx([rates[2], rates[5]])


def test_steps_per_epoch() -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            while True:
                yield from DATA

    history = Trainer(_model(), progress=False).fit(
        Endless(), epochs=2, batch_size=8, steps_per_epoch=7
    )
    assert history.column("step") == [7, 14]
    for wrong in (0, 1.5, "3"):
        with pytest.raises(ValueError, match="steps_per_epoch must be a whole number >= 1"):
            Trainer(_model(), progress=False).fit(Endless(), epochs=1, steps_per_epoch=wrong)
    with pytest.raises(ValueError, match="is for data that are read batch by batch"):
        Trainer(_model(), progress=False).fit((IMAGES, LABELS), epochs=1, steps_per_epoch=2)


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES, LABELS),
        (IMAGES.numpy(), LABELS.numpy()),
        DATA,
        (IMAGES, torch.rand(40, 5).softmax(1)),
    ],
)
def test_full_batches_of_arrays_leave_out_others_each_time(data: Any) -> None:
    trainer = Trainer(_model(), progress=False)
    with pytest.warns(UserWarning, match="leaves out 17 of 40 images, .* batches of 23") as caught:
        history = trainer.fit(data, epochs=2, batch_size=23)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert history.column("step") == [1, 2]


@pytest.mark.parametrize("data", [(IMAGES, LABELS), DATA, Growing(), Stream()])
def test_a_batch_that_is_larger_than_the_data_is_all_of_them(data: Any) -> None:
    if isinstance(data, Growing):
        data = torch.utils.data.Subset(data, range(3))
    history = Trainer(_model(), progress=False).fit(data, epochs=2, batch_size=1000)
    assert history.column("step") == [1, 2]


def test_a_resumed_training_continues_with_all_batches(tmp_path: Any) -> None:
    results = []
    for parts in ([2], [1, 2]):
        model = _model()
        for number, epochs in enumerate(parts):
            trainer = Trainer(model, schedule="constant", progress=False, seed=3)
            path = tmp_path / "a.ckpt"
            trainer.fit(
                DataLoader(DATA, 16),
                epochs=epochs,
                checkpoint=path,
                resume=path if number else None,
            )
        results.append(model.state_dict())
    for name, tensor in results[0].items():
        assert torch.equal(tensor, results[1][name]), name


def test_images_that_are_not_finite_are_refused_early() -> None:
    broken = IMAGES.clone()
    broken[30, 0, 0, 0] = torch.nan
    for data in (
        (broken, LABELS),
        (broken.numpy(), LABELS),
        DataLoader(TensorDataset(broken, LABELS), 8),
    ):
        trainer = Trainer(_model(), progress=False)
        with pytest.raises(ValueError, match="images must be finite, got NaN or infinity in 1 of"):
            trainer.fit(data, epochs=1, batch_size=8)


def test_a_validation_loss_of_nan_stays_visible() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = _model()

        def forward(self, x: Tensor) -> Any:
            y = self.model(x)
            return y if self.training else y * torch.nan

    history = Trainer(Broken(), progress=False).fit(DataLoader(DATA, 8), DATA, epochs=1)
    assert np.isnan(history.last["val_loss"])
