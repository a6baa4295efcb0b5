"""The CUDA kernels of batch norm, compared with PyTorch in float64."""

import ctypes
import math

import pytest
import torch
from cuda_kernels import Kernels
from torch import Tensor, nn
from torch.nn import functional as F

SOURCE = "batch_norm"
# Images, channels, height, width: one channel, three, no multiple of a vector, more columns than a
# block has, batch 1, many rows.
SHAPES = [(2, 1, 5, 3), (3, 3, 4, 4), (1, 8, 3, 5), (2, 24, 7, 1), (4, 33, 3, 3), (1, 300, 2, 2)]
SHAPES += [(7, 16, 9, 11), (1, 40, 1, 2)]
EPS = 1e-5
MOMENTUM = 0.1


class Activation(ctypes.Structure):
    _fields_ = [("slope", ctypes.c_float), ("max", ctypes.c_float)]


ACTIVATIONS = {
    "none": Activation(1.0, math.inf),
    "relu": Activation(0.0, math.inf),
    "relu6": Activation(0.0, 6.0),
    "leaky_relu": Activation(0.1, math.inf),
}


def _activate(name: str, y: Tensor) -> Tensor:
    functions = {"none": nn.Identity(), "relu": F.relu, "relu6": F.relu6}
    return functions.get(name, lambda y: F.leaky_relu(y, 0.1))(y)


class BatchNorm:
    """Launches the kernels in order, as the core does."""

    def __init__(self, kernels: Kernels, x: Tensor, parts: int) -> None:
        self.kernels = kernels
        self.name = "bf16" if x.dtype == torch.bfloat16 else "float"
        vector = 16 // x.element_size()
        self.channels = x.shape[1]
        self.rows = x.numel() // self.channels
        lanes = vector if self.channels % vector == 0 else 1
        columns = self.channels // lanes
        width = min(kernels.threads // 8, 1 << (columns - 1).bit_length())
        self.suffix = f"{self.name}_{lanes}"
        self.parts = parts
        self.block = (width, kernels.threads // width)
        self.grid = (-(-columns // width), parts)

    def each_channel(self, entry: str, *arguments: object) -> None:
        self.kernels.launch(entry, (self.channels,), (self.kernels.threads,), *arguments)

    def each_row(self, entry: str, *arguments: object) -> None:
        self.kernels.launch(f"{entry}_{self.suffix}", self.grid, self.block, *arguments)

    def vector(self) -> Tensor:
        return torch.full((self.channels,), math.nan)

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        activation: Activation,
        running: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """The forward in training mode; ``new`` are the updated running statistics."""
        partial = torch.full((self.parts, 2, self.channels), math.nan)
        size = (self.rows, self.channels)
        self.mean, self.invstd = self.vector(), self.vector()
        self.new = (self.vector(), self.vector()) if running else (None, None)
        self.each_row("batch_norm_moments", x, *size, partial)
        self.each_channel(
            f"batch_norm_statistics_{self.name}",
            *(x, partial, self.parts, *size, MOMENTUM, EPS),
            *(self.mean, self.invstd, *(running or (None, None)), *self.new),
        )
        return self.normalize(x, weight, bias, residual, activation)

    def evaluate(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        activation: Activation,
        running: tuple[Tensor, Tensor],
    ) -> Tensor:
        self.mean, self.invstd = running[0], self.vector()
        threads = self.kernels.threads
        shape = (-(-self.channels // threads),), (threads,)
        arguments = (running[1], self.channels, EPS, self.invstd)
        self.kernels.launch("batch_norm_invstd", *shape, *arguments)
        return self.normalize(x, weight, bias, None, activation)

    def normalize(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        activation: Activation,
    ) -> Tensor:
        y = torch.full_like(x, math.nan)
        line = (self.mean, self.invstd, weight, bias)
        size = (self.rows, self.channels)
        self.each_row("batch_norm_normalize", x, residual, *size, *line, activation, y)
        return y

    def backward(
        self,
        grad_y: Tensor,
        y: Tensor | None,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        activation: Activation,
        with_residual: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        partial = torch.full((self.parts, 2, self.channels), math.nan)
        size = (self.rows, self.channels)
        line = (self.mean, self.invstd, weight, bias)
        self.each_row("batch_norm_gradient_sums", grad_y, y, x, *size, *line, activation, partial)
        grad_weight, grad_bias, slope, offset = (self.vector() for _ in range(4))
        self.each_channel(
            "batch_norm_gradient_lines",
            *(partial, self.parts, *size, self.invstd, weight),
            *(grad_weight, grad_bias, slope, offset),
        )
        grad_x = torch.full_like(x, math.nan)
        grad_residual = torch.full_like(x, math.nan) if with_residual else None
        self.each_row(
            "batch_norm_input_gradient",
            *(grad_y, y, x, *size, *line, slope, offset, activation, grad_x, grad_residual),
        )
        return grad_x, grad_weight, grad_bias, grad_residual


def _nhwc(*shape: int, dtype: torch.dtype, mean: float = 0.0) -> Tensor:
    values = torch.randn(*shape) * 2 + mean
    return values.to(dtype).to(memory_format=torch.channels_last)


def _close(ours: Tensor, exact: Tensor, tolerance: float, what: str) -> None:
    assert not ours.isnan().any(), what
    error = (ours.double() - exact).norm() / exact.norm().clamp_min(1e-6)
    assert error <= tolerance, f"{what}: {error:.2e}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("with_residual", [False, True])
def test_as_pytorch(
    kernels: Kernels,
    dtype: torch.dtype,
    activation: str,
    shape: tuple[int, ...],
    with_residual: bool,
) -> None:
    torch.manual_seed(sum(shape))
    channels = shape[1]
    x, grad_y = _nhwc(*shape, dtype=dtype, mean=1.0), _nhwc(*shape, dtype=dtype)
    residual = _nhwc(*shape, dtype=dtype) if with_residual else None
    weight, bias = torch.rand(channels) + 0.5, torch.randn(channels)
    running = (torch.randn(channels), torch.rand(channels))

    exact = [t.double().requires_grad_() for t in (x, weight, bias)]
    exact_residual = residual.double().requires_grad_() if residual is not None else None
    exact_running = [t.double() for t in running]
    before = F.batch_norm(exact[0], *exact_running, *exact[1:], True, MOMENTUM, EPS)
    before = before + exact_residual if exact_residual is not None else before
    expected = _activate(activation, before)

    norm = BatchNorm(kernels, x, parts=1 + len(shape) % 3)
    settings = ACTIVATIONS[activation]
    y = norm.forward(x, weight, bias, residual, settings, running)
    # With only two values per channel, a variance can be almost zero.
    few = x.numel() // channels < 8
    tolerance = {torch.float32: 1e-4 if few else 2e-6, torch.bfloat16: 5e-3}[dtype]
    _close(y, expected.detach(), tolerance, "y")
    _close(norm.mean, x.double().mean((0, 2, 3)), 1e-6, "mean")
    for ours, theirs in zip(norm.new, exact_running, strict=True):
        assert ours is not None
        _close(ours, theirs, 1e-6, "running statistics")

    # Rounding decides the sign of values near zero, so these elements get no gradient.
    unclear = (expected.abs() < 1e-3) | ((expected - 6).abs() < 2e-2)
    grad_y = torch.where(unclear, 0, grad_y).to(memory_format=torch.channels_last)
    leaves = [*exact, *([exact_residual] if exact_residual is not None else [])]
    wanted = torch.autograd.grad(expected, leaves, grad_y.double())
    seen = y if with_residual else None
    ours = norm.backward(grad_y, seen, x, weight, bias, settings, with_residual)
    tolerance = {torch.float32: 1e-3 if few else 1e-5, torch.bfloat16: 1e-2}[dtype]
    names = ("grad_x", "grad_weight", "grad_bias", "grad_residual")
    for name, theirs, gradient in zip(names, wanted, ours, strict=False):
        assert gradient is not None
        if name == "grad_x" and few:
            continue
        _close(gradient, theirs, tolerance, name)


@pytest.mark.parametrize("channels", [3, 8])
def test_without_weight_and_bias(kernels: Kernels, channels: int) -> None:
    torch.manual_seed(0)
    x, grad_y = (_nhwc(4, channels, 5, 5, dtype=torch.float32, mean=1.0) for _ in range(2))
    exact = x.double().requires_grad_()
    expected = F.batch_norm(exact, None, None, None, None, True, eps=EPS)
    (wanted,) = torch.autograd.grad(expected, exact, grad_y.double())
    norm = BatchNorm(kernels, x, parts=2)
    none = ACTIVATIONS["none"]
    _close(norm.forward(x, None, None, None, none, None), expected.detach(), 2e-6, "y")
    _close(norm.backward(grad_y, None, x, None, None, none, False)[0], wanted, 1e-5, "grad_x")


@pytest.mark.parametrize("channels", [3, 40])
@pytest.mark.parametrize("with_line", [False, True])
def test_an_evaluation(kernels: Kernels, channels: int, with_line: bool) -> None:
    torch.manual_seed(0)
    x = _nhwc(2, channels, 4, 3, dtype=torch.float32)
    mean, var = torch.randn(channels), torch.rand(channels)
    weight, bias = (torch.randn(channels), torch.randn(channels)) if with_line else (None, None)
    exact = [None if t is None else t.double() for t in (mean, var, weight, bias)]
    expected = F.relu(F.batch_norm(x.double(), *exact, eps=EPS))
    norm = BatchNorm(kernels, x, parts=2)
    y = norm.evaluate(x, weight, bias, ACTIVATIONS["relu"], (mean, var))
    _close(y, expected, 2e-6, "y")


@pytest.mark.parametrize("channels", [3, 8])
def test_a_large_mean_keeps_the_variance(kernels: Kernels, channels: int) -> None:
    torch.manual_seed(0)
    x = _nhwc(4, channels, 9, 9, dtype=torch.float32, mean=1e4)
    norm = BatchNorm(kernels, x, parts=3)
    y = norm.forward(x, None, None, None, ACTIVATIONS["none"], None)
    _close(y, F.batch_norm(x.double(), None, None, None, None, True, eps=EPS), 1e-3, "y")


def test_a_nan_is_not_hidden(kernels: Kernels) -> None:
    x = _nhwc(2, 8, 3, 3, dtype=torch.float32)
    x[1, 5, 2, 1] = math.nan
    norm = BatchNorm(kernels, x, parts=2)
    y = norm.forward(x, None, None, None, ACTIVATIONS["relu"], None)
    assert y[:, 5].isnan().all()
    assert not y[:, :5].isnan().any()
