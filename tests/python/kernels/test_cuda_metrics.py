"""The CUDA kernels of metrics, compared with topk."""

import math

import pytest
import torch
from cuda_kernels import Kernels
from torch import Tensor

SOURCE = "metrics"
IGNORED = -100


def _ranks(kernels: Kernels, logits: Tensor, labels: Tensor) -> Tensor:
    batch, classes = logits.shape
    ranks = torch.full((batch,), -7, dtype=torch.int32)
    name = "bf16" if logits.dtype == torch.bfloat16 else "float"
    arguments = (logits, labels, classes, ranks)
    kernels.launch(f"ranks_{name}", (batch,), (kernels.threads,), *arguments)
    return ranks


class Metrics:
    """A cursor and the sums of the metrics, in device memory."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.cursor = torch.tensor([0, 0, 1, 0])
        self.sums = torch.zeros(5, dtype=torch.int64)

    def add(
        self, loss: float, ranks: Tensor | None, batch: int, total: int, stops: bool = False
    ) -> None:
        arguments = (torch.tensor(loss), ranks, batch, total, int(stops), self.cursor, self.sums)
        self.kernels.launch("add_metrics", (1,), (self.kernels.threads,), *arguments)

    def advance(self) -> None:
        self.cursor[1:3] += 1

    @property
    def loss(self) -> float:
        return self.sums[:1].view(torch.float64).item()

    @property
    def counts(self) -> list[int]:
        """The numbers of images, of valid labels, and of labels among the top 1 and 5."""
        return self.sums[1:].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 2), (7, 10), (3, 1), (5, 300), (70, 8)], ids=str)
@pytest.mark.parametrize("ignored", [False, True])
def test_as_topk(
    kernels: Kernels, dtype: torch.dtype, shape: tuple[int, int], ignored: bool
) -> None:
    torch.manual_seed(sum(shape))
    batch, classes = shape
    # All values of a row differ, also in bf16.
    logits = (torch.rand(shape).argsort(1) - classes // 2).to(dtype)
    labels = torch.randint(classes, (batch,))
    if ignored:
        labels[::3] = IGNORED
    hits = logits.float().topk(classes).indices == labels[:, None]
    ranks = _ranks(kernels, logits, labels)
    assert torch.equal(ranks, torch.where(hits.any(1), hits.int().argmax(1), -1).int())

    metrics = Metrics(kernels)
    for loss in (0.5, 0.25):
        metrics.add(loss, ranks, batch, 2 * batch)
        metrics.advance()
    assert metrics.loss == 0.75 * batch
    counted = [(labels != IGNORED).sum(), hits[:, 0].sum(), hits[:, :5].any(1).sum()]
    assert metrics.counts == [2 * batch, *(2 * count.item() for count in counted)]


def test_among_equals_the_earlier_class_is_higher(kernels: Kernels) -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, math.nan, 2.0]] * 5)
    logits[4] = 0.0
    ranks = _ranks(kernels, logits, torch.tensor([0, 1, 4, 3, 2]))
    assert ranks.tolist() == [4, 1, 3, 4, 2]


def test_a_label_that_is_no_class_has_no_rank(kernels: Kernels) -> None:
    assert _ranks(kernels, torch.randn(3, 3), torch.tensor([-1, 3, IGNORED])).tolist() == [-1] * 3


def test_a_padded_batch_counts_its_images(kernels: Kernels) -> None:
    metrics = Metrics(kernels)
    ranks = torch.tensor([4, 0, 5, -1, 0, 0], dtype=torch.int32)
    metrics.add(1.0, ranks, 6, 10)
    metrics.advance()
    assert (metrics.loss, metrics.counts) == (6.0, [6, 5, 3, 4])
    metrics.add(0.5, ranks, 6, 10)
    assert (metrics.loss, metrics.counts) == (8.0, [10, 8, 4, 6])


def test_without_ranks_only_the_loss_is_added(kernels: Kernels) -> None:
    metrics = Metrics(kernels)
    metrics.add(1.5, None, 4, 9)
    assert (metrics.loss, metrics.counts) == (6.0, [4, 0, 0, 0])


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops(kernels: Kernels, loss: float) -> None:
    metrics = Metrics(kernels)
    ranks = torch.zeros(4, dtype=torch.int32)
    metrics.add(1.0, ranks, 4, 12, stops=True)
    metrics.advance()
    metrics.add(loss, ranks, 4, 12, stops=True)
    assert metrics.loss == pytest.approx(loss, nan_ok=True)
    assert metrics.counts == [4] * 4
    assert metrics.cursor.tolist() == [0, 1, 2, 2]

    before = metrics.sums.clone()
    for later in (1.0, math.nan):
        metrics.add(later, ranks, 4, 12, stops=True)
        assert torch.equal(metrics.sums, before)
        assert metrics.cursor.tolist() == [0, 1, 2, 2]


def test_an_evaluation_does_not_stop(kernels: Kernels) -> None:
    metrics = Metrics(kernels)
    ranks = torch.zeros(4, dtype=torch.int32)
    for loss in (math.nan, 1.0):
        metrics.add(loss, ranks, 4, 12)
        metrics.advance()
    assert math.isnan(metrics.loss)
    assert metrics.counts == [8] * 4
    assert metrics.cursor.tolist() == [0, 2, 3, 0]
