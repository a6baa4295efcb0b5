"""``functional.cross_entropy``: the oracle is torch's in float64."""

from collections.abc import Callable

import pytest
import torch
from proprelu.functional.cross_entropy import cross_entropy, cross_entropy_program
from proprelu.train.device.device import Device
from torch import Tensor
from torch.nn import functional as F


def _batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    logits = (3 * torch.randn(7, 5)).to(dtype).requires_grad_()
    labels = torch.randint(5, (7,))
    labels[2] = -100
    return logits, labels


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matches_torch(dtype: torch.dtype, smoothing: float) -> None:
    logits, labels = _batch(dtype)
    exact = logits.detach().double().requires_grad_()
    expected = F.cross_entropy(exact, labels, label_smoothing=smoothing)
    loss = cross_entropy(logits, labels, smoothing)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    (3 * loss).backward()
    (3 * expected).backward()
    assert logits.grad is not None
    assert exact.grad is not None
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_matches_torchs_operations(
    gpu: Callable[[], Device], dtype: torch.dtype
) -> None:
    device = gpu()
    assert device.kernels is not None
    logits, labels = (tensor.detach().to(device.device) for tensor in _batch(dtype))
    expected, wanted = torch.ops.proprelu.cross_entropy(logits.cpu(), labels.cpu(), 0.1)
    program = cross_entropy_program(device.kernels, logits.shape, dtype, 0.1)
    with device.active():
        loss, grad = program((logits, labels))
    torch.testing.assert_close(loss.cpu(), expected)
    torch.testing.assert_close(grad.cpu(), wanted)
    # A later run must not overwrite an earlier result.
    with device.active():
        program((logits + 1, labels.flip(0)))
    torch.testing.assert_close(loss.cpu(), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_torch_opcheck_passes(dtype: torch.dtype, smoothing: float) -> None:
    logits, labels = _batch(dtype)
    for given in (logits, logits.detach()):
        operation = torch.ops.proprelu.cross_entropy.default
        torch.library.opcheck(operation, (given, labels, smoothing))


def test_every_registered_operation_is_tested() -> None:
    """A new operation needs the test above; the others listed here have it in their own tests."""
    names = torch._C._dispatch_get_all_op_names()
    own = {name.removeprefix("proprelu::") for name in names if name.startswith("proprelu::")}
    pooling = {"covariance_pool", "covariance_pool_backward", "symmetric_root"}
    channels = {"channel_means", "scale_channels", "scale_channels_backward"}
    integers = {"int8_conv2d", "int8_conv2d_backward", "int8_scales"}
    assert own == {"cross_entropy", *pooling, *channels, *integers}


def test_in_a_compiled_function() -> None:
    logits, labels = _batch()
    compiled = torch.compile(cross_entropy, backend="aot_eager", fullgraph=True)
    loss, expected = compiled(logits, labels), cross_entropy(logits, labels)
    assert loss.item() == pytest.approx(expected.item())
    (found,), (wanted,) = (torch.autograd.grad(value, logits) for value in (loss, expected))
    torch.testing.assert_close(found, wanted)


def test_its_gradient_cannot_be_differentiated() -> None:
    logits, labels = _batch()
    loss, grad = torch.ops.proprelu.cross_entropy(logits, labels, 0.0)
    assert loss.requires_grad
    assert not grad.requires_grad
