"""What a compiled function returns, changes and shares is what the eager one does."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import proprelu  # noqa: F401  registers the backend
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Normed(nn.Module):
    """A convolution with a batch norm, which may be checkpointed."""

    def __init__(self, again: bool = False) -> None:
        super().__init__()
        self.conv, self.norm, self.again = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), again

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        z = checkpoint(self.norm, y, use_reentrant=False) if self.again else self.norm(y)
        return z.relu()


class Counting(nn.Module):
    """Changes its buffers in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 5)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.mean.mul_(0.9).add_(x.detach().mean((0, 1, 2)), alpha=0.1)
        self.mean[1:3] = 0
        return self.fc(x) + self.mean


class Function(nn.Module):
    """A function as a module, with a convolution that comes first."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 3, 3, padding=1), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.conv(x))


class Bare(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Plus(nn.Module):
    """Returns a parameter and what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Any:
        return self.scale, x * self.scale, self.scale.detach()


def _write_to_view(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 1].relu_()
    y.transpose(2, 3)[..., 0] = 1
    return y


def _write_to_input(x: Tensor) -> Tensor:
    with torch.no_grad():
        x.mul_(2)
    return x + 1


def _cast(x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return F.conv2d(x, torch.ones(2, 3, 3, 3))


CASES: dict[str, Callable[[], nn.Module]] = {
    "an input": lambda: Bare(lambda x: (x, x * 2)),
    "views of an input": lambda: Bare(lambda x: (x[:, 1:], x.flatten(1), x.permute(0, 2, 3, 1))),
    "detached input": lambda: Bare(lambda x: (x.detach(), x.exp())),
    "a copy of an input": lambda: Bare(lambda x: (x.clone(), x.contiguous(), x + 0, x.float())),
    "views of a result": lambda: Function(lambda x: (x, x[:, 1], x.mT, x.flatten(2))),
    "a result twice": lambda: Function(lambda x: (x, x.exp(), x)),
    "equal results": lambda: Function(lambda x: (x.relu(), x.relu().relu(), x.relu().clone())),
    "a parameter": Plus,
    "None and numbers": lambda: Function(lambda x: (None, x, 3, {"a": x.sum()})),
    "integers": lambda: Function(lambda x: (x.argmax(1), x > 0, (x > 0).sum(), x.long())),
    "a constant": lambda: Function(lambda x: (x, torch.arange(4), torch.tensor([1.5, 2.5]))),
    "a constant tensor": lambda: Function(lambda x: x * torch.tensor([2.0])),
    "complex": lambda: Function(lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * (1 + 0.5j)).abs()),
    "a complex result": lambda: Function(lambda x: torch.fft.rfft2(x)),
    "double": lambda: Function(lambda x: x.double().cumsum(1)),
    "half": lambda: Function(lambda x: (x.half(), x.bfloat16() * 2)),
    "a scalar": lambda: Function(lambda x: (x.sum(), x.mean().sqrt(), x[0, 0, 0, 0])),
    "empty": lambda: Function(lambda x: (x[:, :0], x[:0].sum(), torch.cat((x, x[:, :0]), 1))),
    "expanded": lambda: Function(lambda x: (x.mean(1, keepdim=True).expand(-1, 4, -1, -1), x)),
    "expanded channels": lambda: Function(lambda x: x[:, :1].expand(-1, 3, -1, -1)),
    "expanded rows": lambda: Function(
        lambda x: x.mean((1, 2), keepdim=True).expand(-1, 5, 3, -1).transpose(1, 3)
    ),
    "strided": lambda: Function(lambda x: (x[..., ::2], x.transpose(1, 3), x.flip(2))),
    "writes into a view": lambda: Function(_write_to_view),
    "writes into its input": lambda: Bare(_write_to_input),
    "autocast inside": lambda: Bare(_cast),
    "no gradient": lambda: Function(torch.no_grad()(lambda x: x.relu())),
    "an item": lambda: Function(lambda x: x * float(x.detach().abs().max().item() > 1e9)),
    "shapes": lambda: Function(lambda x: x.view(x.shape[0], -1)[:, : x.shape[2]] * x.shape[3]),
    "batch norm": Normed,
    "buffers": Counting,
    "second derivative inside": lambda: Bare(lambda x: x.exp().sin() * x.square()),
}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _run(model: nn.Module, run: Callable[[Tensor], Any], given: Tensor, grad: bool) -> Any:
    """Everything that a caller can see of one call, forward and backward."""
    leaf = given.detach().requires_grad_(grad and given.is_floating_point())
    torch.manual_seed(1)
    output = run(leaf)
    outputs = tree_leaves(output)
    tensors = [out for out in outputs if isinstance(out, Tensor)]
    seen: dict[str, Any] = {
        "structure": [type(out) for out in outputs],
        "strides": [tensor.stride() for tensor in tensors],
        "gradients": [tensor.requires_grad for tensor in tensors],
        "is the input": [tensor is leaf for tensor in tensors],
        "is a parameter": [any(tensor is p for p in model.parameters()) for tensor in tensors],
        "shares": [
            _storage(one) == _storage(other)
            for i, one in enumerate(tensors)
            for other in (*tensors[:i], leaf)
            if one.numel() and other.numel()
        ],
    }
    losses = [t.abs().float().mean() for t in tensors if t.requires_grad]
    if losses:
        torch.stack(losses).sum().backward()
    values = [
        *tensors,
        leaf,
        leaf.grad,
        *(p.grad for p in model.parameters()),
        *model.buffers(),
        *(out for out in outputs if isinstance(out, float)),
    ]
    return seen, [v.detach().clone() if isinstance(v, Tensor) else v for v in values]


def _compare(make: Callable[[], nn.Module], given: Tensor, reference: str = "eager") -> None:
    torch.manual_seed(0)
    ours = make()
    compiled = torch.compile(ours, backend="proprelu")
    for grad in (True, False):
        if make is CASES["writes into its input"] and grad:
            continue  # torch refuses it for a leaf
        theirs = copy.deepcopy(ours)
        plain = torch.compile(theirs, backend=reference)
        for model in (ours, theirs):
            model.zero_grad()
        try:
            expected = _run(theirs, plain, given.clone(), grad)
        except (RuntimeError, IndexError):
            with pytest.raises((RuntimeError, IndexError)):
                _run(ours, compiled, given.clone(), grad)
            continue
        found = _run(ours, compiled, given.clone(), grad)
        assert found[0] == expected[0]
        for one, other in zip(found[1], expected[1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:torch runs a graph", "ignore:The .grad attribute")
def test_a_compiled_function_is_the_eager_one(case: str) -> None:
    _compare(CASES[case], torch.randn(2, 3, 7, 5))


@pytest.mark.parametrize(
    "given",
    [
        torch.randn(2, 3, 7, 5).contiguous(memory_format=torch.channels_last),
        torch.randn(2, 3, 5, 7).transpose(2, 3),
        torch.randn(0, 3, 7, 5),
    ],
    ids=["channels_last", "strided", "of no image"],
)
@pytest.mark.parametrize(
    "case",
    ["a copy of an input", "views of a result", "writes into a view", "batch norm", "shapes"],
)
@pytest.mark.filterwarnings("ignore:torch runs a graph")
def test_inputs_of_other_layouts(case: str, given: Tensor) -> None:
    _compare(CASES[case], given)


def test_checkpointed_statistics_move_as_with_other_backends() -> None:
    """Dynamo captures a checkpoint as one operation, whose statistics move once."""
    _compare(lambda: Normed(again=True), torch.randn(2, 3, 7, 5), "aot_eager")
