"""The loss on CUDA, its source run on the CPU: the oracle is PyTorch in float64."""

import math

import pytest
import torch
from cuda_kernels import Kernels
from torch import Tensor
from torch.nn import functional as F

SOURCE = "cross_entropy"
IGNORED = -100


def _run(
    kernels: Kernels, logits: Tensor, labels: Tensor, smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of the rows, ranks, and the gradient."""
    batch, classes = logits.shape
    losses, ranks = torch.full((batch,), math.nan), torch.full((batch,), -7, dtype=torch.int32)
    grad = torch.full_like(logits, math.nan)
    name = "bf16" if logits.dtype == torch.bfloat16 else "float"
    size = (batch, classes, smoothing)
    kernels.launch(
        f"cross_entropy_{name}",
        (batch,),
        (kernels.threads,),
        logits,
        labels,
        *size,
        losses,
        ranks,
        grad,
    )
    return losses, ranks, grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 2), (7, 10), (3, 1), (5, 300), (70, 3)], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [False, True])
def test_as_pytorch(
    kernels: Kernels,
    dtype: torch.dtype,
    shape: tuple[int, int],
    smoothing: float,
    ignored: bool,
) -> None:
    torch.manual_seed(sum(shape))
    logits = (5 * torch.randn(shape)).to(dtype)
    labels = torch.randint(shape[1], (shape[0],))
    if ignored and shape[0] > 1:
        labels[::3] = IGNORED
    exact = logits.double().requires_grad_()
    expected = F.cross_entropy(exact, labels, label_smoothing=smoothing)
    (wanted,) = torch.autograd.grad(expected, exact)

    losses, ranks, grad = _run(kernels, logits, labels, smoothing)
    tolerance = 2**-8 if dtype == torch.bfloat16 else 1e-6
    # A softmax is one at most, so that is the size of what is rounded.
    counted = (labels != IGNORED).sum()
    assert (grad.double() - wanted).abs().max() <= tolerance / counted

    loss = torch.tensor(math.nan)
    metrics = torch.zeros(5, dtype=torch.float64)
    counts = metrics.view(torch.int64)
    for _ in range(2):
        kernels.launch(
            "add_metrics",
            (1,),
            (kernels.threads,),
            losses,
            ranks,
            labels,
            shape[0],
            loss,
            metrics,
        )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-7)
    assert metrics[0].item() == pytest.approx(2 * shape[0] * expected.item(), rel=1e-6, abs=1e-6)
    seen = labels != IGNORED
    top = logits[seen].float().topk(min(5, shape[1])).indices == labels[seen, None]
    # Equal scores, of which bf16 has many, are told apart by the class; topk does as it likes.
    if dtype == torch.float32:
        counted = [2 * shape[0], 2 * seen.sum(), 2 * top[:, 0].sum(), 2 * top.any(1).sum()]
        assert counts[1:].tolist() == [int(count) for count in counted]


def test_among_equals_the_earlier_class_is_higher(kernels: Kernels) -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, math.nan, 2.0]] * 5)
    logits[4] = 0.0
    _, ranks, _ = _run(kernels, logits, torch.tensor([0, 1, 4, 3, 2]), 0.0)
    assert ranks.tolist() == [4, 1, 3, 4, 2]


def test_a_filled_up_batch_counts_its_images(kernels: Kernels) -> None:
    logits, labels = torch.randn(6, 4), torch.randint(4, (6,))
    losses, ranks, _ = _run(kernels, logits, labels, 0.0)
    loss, metrics = torch.tensor(0.0), torch.zeros(5, dtype=torch.float64)
    kernels.launch(
        "add_metrics",
        (1,),
        (kernels.threads,),
        losses,
        ranks,
        labels,
        4,
        loss,
        metrics,
    )
    assert loss.item() == pytest.approx(F.cross_entropy(logits[:4], labels[:4]).item(), rel=1e-5)
    assert metrics.view(torch.int64)[1:3].tolist() == [4, 4]


def test_a_label_that_is_no_class_is_seen(kernels: Kernels) -> None:
    losses, ranks, _ = _run(kernels, torch.randn(2, 3), torch.tensor([1, 3]), 0.0)
    assert not losses[0].isnan()
    assert losses[1].isnan()
    assert ranks[1] == -1
