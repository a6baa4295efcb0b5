"""The CUDA kernels of cross-entropy, compared with PyTorch in float64."""

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
    """The losses of the rows, their mean, and the gradient."""
    batch, classes = logits.shape
    losses, loss = torch.full((batch,), math.nan), torch.tensor(math.nan)
    grad = torch.full_like(logits, math.nan)
    name = "bf16" if logits.dtype == torch.bfloat16 else "float"
    arguments = (logits, labels, batch, classes, smoothing, losses, grad)
    kernels.launch(f"cross_entropy_{name}", (batch,), (kernels.threads,), *arguments)
    kernels.launch("mean_loss", (1,), (kernels.threads,), losses, labels, batch, loss)
    return losses, loss, grad


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

    _, loss, grad = _run(kernels, logits, labels, smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-7)
    tolerance = 2**-8 if dtype == torch.bfloat16 else 1e-6
    # The softmax is at most one, which bounds the rounding error.
    counted = (labels != IGNORED).sum()
    assert (grad.double() - wanted).abs().max() <= tolerance / counted


def test_a_label_that_is_no_class_is_seen(kernels: Kernels) -> None:
    losses, loss, _ = _run(kernels, torch.randn(2, 3), torch.tensor([1, 3]), 0.0)
    assert losses.isnan().tolist() == [False, True]
    assert loss.isnan()
