"""``functional.cross_entropy`` on all kinds of batches: the oracle is PyTorch in float64."""

import pytest
import torch
from proprelu.functional import cross_entropy
from torch import Tensor
from torch.nn import functional as F

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SHAPES = [(1, 2), (7, 10), (3, 1), (5, 300)]


def _example(
    shape: tuple[int, int], device: str, dtype: torch.dtype = torch.float32, ignored: bool = False
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    logits = 5 * torch.randn(shape, generator=generator)
    labels = torch.randint(shape[1], (shape[0],), generator=generator)
    if ignored:
        labels[1::2] = -100
    return logits.to(device, dtype).requires_grad_(), labels.to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("ignored", [False, True], ids=["all", "ignored"])
def test_matches_pytorch(
    device: str, dtype: torch.dtype, shape: tuple[int, int], smoothing: float, ignored: bool
) -> None:
    logits, labels = _example(shape, device, dtype, ignored)
    exact = logits.detach().double().requires_grad_()
    expected = F.cross_entropy(exact, labels, label_smoothing=smoothing)
    loss = cross_entropy(logits, labels, smoothing)
    assert (loss.dtype, loss.shape) == (torch.float32, ())
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    (3 * loss).backward()
    (3 * expected).backward()
    assert logits.grad is not None
    assert logits.grad.dtype == dtype
    rounding = 2**-8 if dtype == torch.bfloat16 else 1e-6
    # Values of a softmax are at most 1, so rounding errors are relative to 1.
    largest = 3 / max(int((labels >= 0).sum()), 1)
    torch.testing.assert_close(
        logits.grad.double(), exact.grad, rtol=rounding, atol=rounding * largest
    )


def _penalty(w: Tensor, x: Tensor, labels: Tensor) -> Tensor:
    """Differentiate the gradient of the loss by the images, as some trainings do."""
    loss = cross_entropy(x @ w, labels)
    (grad,) = torch.autograd.grad(loss, x, create_graph=True)
    return grad.square().sum()


@pytest.mark.parametrize("device", DEVICES)
def test_a_second_derivative_is_right_or_raises(device: str) -> None:
    """The second derivative is torch's, or an error is raised."""
    generator = torch.Generator().manual_seed(0)
    w, x = (torch.randn(size, generator=generator) for size in ((6, 4), (5, 6)))
    w, x = w.to(device).requires_grad_(), x.to(device).requires_grad_()
    labels = torch.arange(5, device=device) % 4
    expected = torch.autograd.grad(F.cross_entropy(x @ w, labels), x, create_graph=True)[0]
    (wanted,) = torch.autograd.grad(expected.square().sum(), w)
    try:
        (found,) = torch.autograd.grad(_penalty(w, x, labels), w)
    except RuntimeError:
        return
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("device", DEVICES)
def test_bf16_under_autocast(device: str) -> None:
    logits, labels = _example((7, 10), device)
    with torch.autocast(device, torch.bfloat16):
        loss = cross_entropy(logits, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


def test_a_label_out_of_range_is_not_accepted_silently() -> None:
    logits, _ = _example((2, 3), "cpu")
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        cross_entropy(logits, torch.tensor([0, 3]))
