"""Updates of parameters of all shapes match torch's, with any number of threads."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from proprelu import SGD, AdamW, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SHAPES = [(33, 7, 5, 3), (200, 150), (130, 130), (1, 20011), (17, 4099 // 3), (5,), (1,), ()]
SMALL = [(1 + 3 * i,) for i in range(40)]


class Odd(nn.Module):
    """Uses only elementwise operations and small sums, so that threads do not change gradients."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        make = lambda shape: nn.Parameter(torch.randn(shape))  # noqa: E731
        self.all = nn.ParameterList([make(shape) for shape in [*SHAPES, *SMALL]])
        self.unreached = make((7,))
        self.frozen = make((11, 3)).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [p.sin().sum() for p in self.all]
        s = 1e-2 * torch.stack(parts).sum() + self.frozen.sum()
        return x.mean((2, 3)) * s


def _batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 6, 3, 4, 4, generator=generator)
    labels = torch.randint(0, 3, (4, 6), generator=generator)
    return list(zip(images, labels, strict=True))


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(optimizer: Any, clip_grad_norm: float | None, threads: int) -> tuple[Odd, Any]:
    model = Odd()
    data = TensorDataset(*(torch.cat(tensors) for tensors in zip(*_batches(), strict=True)))
    settings = {
        "schedule": "constant",
        "ema_decay": 0.8,
        "ema_warmup": False,
        "clip_grad_norm": clip_grad_norm,
    }
    with _threads(threads):
        trainer = Trainer(model, optimizer, progress=False, **settings)
        trainer.fit(DataLoader(data, 6), epochs=1)
    assert trainer.program is not None
    return model, trainer.ema_state_dict()


def _plain(
    model: Odd, optimizer: torch.optim.Optimizer, clip_grad_norm: float | None
) -> dict[str, Tensor]:
    """The averages; torch trains the model."""
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    for images, labels in _batches():
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        if clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_grad_norm)
        optimizer.step()
        for name, p in model.named_parameters():
            average[name].lerp_(p.detach(), 1 - 0.8)
    return average


NESTEROV = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}


@pytest.mark.parametrize("clip_grad_norm", [None, 0.02, 1e3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGD(**NESTEROV), lambda p: torch.optim.SGD(p, **NESTEROV)),
        (SGD(0.05, 0.0, weight_decay=0.0), lambda p: torch.optim.SGD(p, lr=0.05)),
        (AdamW(lr=1e-2, decay_norm_and_bias=True), lambda p: torch.optim.AdamW(p, lr=1e-2)),
    ],
    ids=["nesterov", "plain", "adamw"],
)
def test_odd_shapes_match_torch(ours: Any, theirs: Any, clip_grad_norm: float | None) -> None:
    model, average = _train(ours, clip_grad_norm, threads=3)
    twin = Odd()
    expected = _plain(twin, theirs(twin.parameters()), clip_grad_norm)
    for name, p in twin.named_parameters():
        own = dict(model.named_parameters())[name]
        torch.testing.assert_close(own, p, rtol=1e-4, atol=1e-6, msg=name)
        torch.testing.assert_close(average[name], expected[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("optimizer", [SGD(**NESTEROV), AdamW(lr=1e-2)], ids=["sgd", "adamw"])
def test_results_do_not_depend_on_the_number_of_threads(optimizer: Any) -> None:
    one, one_average = _train(copy.deepcopy(optimizer), 0.02, threads=1)
    three, three_average = _train(copy.deepcopy(optimizer), 0.02, threads=3)
    assert all(torch.equal(p, three.state_dict()[name]) for name, p in one.state_dict().items())
    assert all(torch.equal(p, three_average[name]) for name, p in one_average.items())
