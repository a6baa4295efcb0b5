"""Layer norm in a captured program, compared with plain PyTorch in float64."""

import pytest
import torch
from in_core import check
from torch import Tensor
from torch.nn import functional as F

UNITS = {torch.float32: 1e-5, torch.bfloat16: 1.5e-2}


@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("shape", [(3, 49, 64), (5, 17), (2, 3, 4, 5), (700, 20), (2, 1000)])
def test_with_weight_and_bias(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, grad_y = (torch.randn(shape).to(dtype) + 1, torch.randn(shape).to(dtype))
    weight, bias = torch.randn(shape[-1]), torch.randn(shape[-1])

    def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, shape[-1:], weight, bias)

    listing = check(norm, grad_y, x, weight, bias, unit=UNITS[dtype])
    assert "layer_norm " in listing
    assert "layer_norm_backward" in listing
    assert "aten::native_layer_norm" not in listing


@pytest.mark.parametrize("dims", [1, 2])
def test_without_weight_over_last_dimensions(dims: int) -> None:
    torch.manual_seed(1)
    x, grad_y = torch.randn(4, 6, 5, 3).transpose(0, 1), torch.randn(6, 4, 5, 3)

    def norm(x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-dims:], eps=0.1)

    listing = check(norm, grad_y, x)
    assert "layer_norm " in listing
    assert "aten::native_layer_norm" not in listing


def test_casts_and_residual_adds_are_fused() -> None:
    torch.manual_seed(2)
    x, grad_y = torch.randn(3, 7, 24), torch.randn(3, 7, 24)
    weight, bias = torch.randn(24), torch.randn(24)
    matrix = torch.randn(24, 24) / 5

    def block(x: Tensor, weight: Tensor, bias: Tensor, matrix: Tensor) -> Tensor:
        # As autocast casts: a product in bf16 within a stream of fp32.
        narrow = torch.bfloat16 if x.dtype == torch.float32 else x.dtype
        for _ in range(2):
            y = F.layer_norm(x, (24,), weight, bias).to(narrow) @ matrix.to(narrow)
            x = x + y
        return x

    listing = check(block, grad_y, x, weight, bias, matrix, unit=2e-2)
    assert listing.count("layer_norm_backward_add") == 2
    assert listing.count("aten::add") == 5, "of residuals and of the gradients of parameters"


def test_float64_is_torchs() -> None:
    x, grad_y = torch.randn(3, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    assert "aten::native_layer_norm" in check(lambda x: F.layer_norm(x, (8,)), grad_y, x)
