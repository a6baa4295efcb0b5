"""Random numbers and views that follow the order of memory are those of the eager model.

Inside, images are channels_last. ``aot_eager``, which runs the same graph in torch, is the oracle.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import proprelu  # noqa: F401  registers the backend
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@torch.library.custom_op("proprelu_tests::first_in_memory", mutates_args=())
def first_in_memory(x: Tensor) -> Tensor:
    """The first five numbers in memory, as an extension reads them that is given a pointer."""
    return torch.as_strided(x, (5,), (1,)).clone()


@first_in_memory.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(5)


class After(nn.Module):
    """A function of what a convolution and a batch norm compute."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm, self.function = nn.BatchNorm2d(4), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.norm(self.conv(x)))


def _unused(x: Tensor) -> Tensor:
    torch.randn_like(x)
    return F.dropout(x, 0.3)


DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda x: F.dropout(x, 0.3),
    "dropout in place": lambda x: F.dropout(x, 0.3, inplace=True),
    "feature dropout": lambda x: F.dropout2d(x, 0.3),
    "alpha dropout": lambda x: F.alpha_dropout(x, 0.3, True),
    "feature alpha dropout": lambda x: F.feature_alpha_dropout(x, 0.3, True),
    "rrelu": lambda x: F.rrelu(x, 0.1, 0.9, True),
    "rand_like": lambda x: x * torch.rand_like(x),
    "randn_like": lambda x: x * torch.randn_like(x),
    "randint_like": lambda x: x * torch.randint_like(x, 5),
    "rand of a shape": lambda x: x * torch.rand(x.shape),
    "bernoulli": lambda x: x * torch.bernoulli(x.detach().sigmoid()),
    "bernoulli_": lambda x: x * torch.empty_like(x).bernoulli_(0.4),
    "bernoulli_ of a tensor": lambda x: x * torch.empty_like(x).bernoulli_(x.detach().sigmoid()),
    "normal": lambda x: x * torch.normal(x.detach(), x.detach().abs()),
    "uniform_": lambda x: x * torch.empty_like(x).uniform_(-1, 1),
    "exponential_": lambda x: x * torch.empty_like(x).exponential_(),
    "poisson": lambda x: x * torch.poisson(x.detach().abs() * 4),
    "multinomial": lambda x: x[:, :, 0, 0] * torch.multinomial(x[:, :, 0, 0].detach().abs(), 4),
    "randperm": lambda x: x[torch.randperm(len(x))],
    "gumbel": lambda x: F.gumbel_softmax(x, dim=1),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.3),
    "of a transposed tensor": lambda x: F.dropout(x.transpose(1, 3), 0.3),
    "of every second pixel": lambda x: F.dropout(x[..., ::2], 0.3),
    "of an expanded tensor": lambda x: F.dropout(x.mean(2, True).expand(-1, -1, 4, -1), 0.3),
    "of tokens": lambda x: F.dropout(x.flatten(2).transpose(1, 2), 0.3),
    "one after the other": lambda x: F.dropout(F.dropout(x, 0.3) * torch.rand_like(x), 0.2),
    "drawn and not used": _unused,
}
VIEWS: dict[str, Callable[[Tensor], Any]] = {
    "as_strided": lambda x: x.as_strided((2, 5), (3, 1), 2),
    "as_strided of the batch norm": lambda x: x.relu().as_strided((4, 4), (30, 2)),
    "an operator of an extension": lambda x: (x, first_in_memory(x.detach())),
}


def _run(model: nn.Module, backend: str, images: Tensor) -> list[Tensor]:
    run = torch.compile(model, backend=backend, dynamic=False)
    leaf = images.clone().requires_grad_()
    torch.manual_seed(1)
    outputs = run(leaf)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    gradients = []
    if outputs[0].requires_grad:
        outputs[0].square().sum().backward()
        gradients = [leaf.grad, *(parameter.grad for parameter in model.parameters())]
    # The next number shows that the generator has moved as far.
    return [*(output.detach() for output in outputs), *gradients, torch.rand(1)]


def _compare(function: Callable[[Tensor], Any], images: Tensor) -> None:
    torch.manual_seed(0)
    ours = After(function)
    if not images.is_contiguous():
        ours = ours.to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    expected = _run(theirs, "aot_eager", images)
    for found, tensor in zip(_run(ours, "proprelu", images), expected, strict=True):
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_are_those_of_aot_eager(name: str) -> None:
    _compare(DRAWS[name], torch.randn(2, 3, 6, 5))


@pytest.mark.parametrize("name", ["dropout", "randn_like", "alpha dropout", "of tokens"])
def test_random_numbers_in_channels_last(name: str) -> None:
    _compare(DRAWS[name], torch.randn(2, 3, 6, 5).contiguous(memory_format=torch.channels_last))


def test_dropout_draws_as_the_eager_model() -> None:
    torch.manual_seed(0)
    model, images = After(nn.Dropout(0.3)), torch.randn(2, 3, 6, 5)
    results = []
    for run in (torch.compile(copy.deepcopy(model), backend="proprelu"), model):
        torch.manual_seed(1)
        results.append(run(images))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_memory_are_those_of_aot_eager(name: str) -> None:
    _compare(VIEWS[name], torch.randn(2, 3, 6, 5))


class Normalized(nn.Module):
    """A convolution of a computed weight: the backward of a weight norm reads it from memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv2d(4, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


INNER: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "weight norm": Normalized,
    "determinant": lambda: lambda x: torch.linalg.det(x[:, :, :5] * 0.3 + 2 * torch.eye(5)),
    "lstm": lambda: lambda x: _lstm(x),
    "distances": lambda: lambda x: torch.cdist(x[:, 0], x[:, 1]),
    "windows": lambda: lambda x: F.fold(F.unfold(x, 3), (6, 5), 3),
    "a loss of sequences": lambda: (
        lambda x: F.ctc_loss(
            x.flatten(2).permute(2, 0, 1).log_softmax(2),
            torch.ones(2, 3, dtype=torch.long),
            torch.full((2,), 30),
            torch.full((2,), 3),
        )
    ),
}


def _lstm(x: Tensor) -> Tensor:
    torch.manual_seed(2)
    weights = [torch.randn(12, 5), torch.randn(12, 3), torch.randn(12), torch.randn(12)]
    start = (torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    return torch.lstm(x[:, 0], start, weights, True, 1, 0.0, False, False, True)[0]


@pytest.mark.parametrize("name", INNER)
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_operations_that_need_their_operands_in_order(name: str) -> None:
    _compare(INNER[name](), torch.randn(2, 3, 6, 5))


def test_a_view_as_another_dtype() -> None:
    def bits(x: Tensor) -> Tensor:
        # The numbers are exact, since rounding would change the bits.
        return F.conv2d(x, torch.ones(4, 3, 1, 1)).view(torch.int32)

    images = torch.arange(180.0).view(2, 3, 6, 5)
    assert torch.equal(torch.compile(bits, backend="proprelu")(images), bits(images))


def test_an_assertion_without_a_result_still_fails() -> None:
    def checked(x: Tensor) -> Tensor:
        torch._assert_async((x > 0).all(), "x must be positive")
        return x.sqrt()

    compiled = torch.compile(checked, backend="proprelu")
    compiled(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="x must be positive"):
        compiled(-torch.ones(2, 3))
