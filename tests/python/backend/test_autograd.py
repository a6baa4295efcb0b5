"""What the backend refuses, and what autograd can do with its results."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import proprelu  # noqa: F401  registers the backend
import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class After(nn.Module):
    """A function of a convolution's result."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 3, 3, padding=1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


@pytest.mark.parametrize(
    "function",
    [nn.SiLU(), torch.exp, torch.square, lambda x: (x, x * x)[1], nn.GELU()],
    ids=["SiLU", "exp", "square", "one of two results", "GELU"],
)
def test_a_second_derivative_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = After(function)
    images = torch.randn(2, 3, 7, 5, requires_grad=True)
    out = torch.compile(model, backend="proprelu")(images)
    (gradient,) = torch.autograd.grad(out.sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        gradient.square().sum().backward()


def test_a_backward_can_run_twice() -> None:
    model = After(nn.BatchNorm2d(3))
    images = torch.randn(2, 3, 7, 5)
    loss = torch.compile(model, backend="proprelu")(images).square().sum()
    loss.backward(retain_graph=True)
    once = model.conv.weight.grad.clone()
    loss.backward()
    torch.testing.assert_close(model.conv.weight.grad, 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_a_change_between_forward_and_backward_is_noticed() -> None:
    model = After(torch.square)
    images = torch.randn(2, 3, 7, 5)
    loss = torch.compile(model, backend="proprelu")(images).sum()
    images.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_copies_of_a_compiled_module() -> None:
    compiled: Any = torch.compile(After(nn.BatchNorm2d(3)), backend="proprelu")
    images = torch.randn(2, 3, 7, 5)
    compiled(images)
    other = copy.deepcopy(compiled)
    other(images).sum().backward()
    assert other.conv.weight.grad is not None
    assert compiled.conv.weight.grad is None


@pytest.mark.parametrize(
    ("function", "shape", "reason"),
    [
        (
            lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 0.5j),
            (2, 3, 7, 5),
            "real number|complex",
        ),
        (torch.relu, (0, 3, 7, 5), "positive sizes"),
    ],
)
def test_a_graph_that_is_left_to_torch_is_announced_once(
    function: Callable[[Tensor], Tensor], shape: tuple[int, ...], reason: str
) -> None:
    compiled = torch.compile(After(function), backend="proprelu")
    with torch.no_grad():
        with pytest.warns(
            UserWarning, match=f"torch runs a graph that proprelu cannot: .*{reason}"
        ):
            compiled(torch.zeros(shape))
        compiled(torch.zeros(shape))  # warnings are errors
