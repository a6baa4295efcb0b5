"""Attention in a captured program, compared with plain PyTorch in float64."""

from collections.abc import Callable

import pytest
import torch
from in_core import check, in_core
from torch import Tensor
from torch.nn import functional as F

UNITS = {torch.float32: 1e-5, torch.bfloat16: 1.5e-2}
SHAPES = [(2, 3, 49, 16), (1, 2, 17, 5), (3, 1, 130, 33), (2, 1, 1, 8)]


def _attention(heads: int) -> Callable[[Tensor], Tensor]:
    """As networks write it: from one linear layer, and back to tokens of all heads."""

    def attention(qkv: Tensor) -> Tensor:
        parts = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    return attention


@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_parts_of_one_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    batch, heads, tokens, features = shape
    torch.manual_seed(0)
    qkv = 2 * torch.randn(batch, tokens, 3 * heads * features).to(dtype)
    grad_y = torch.randn(batch, tokens, heads * features).to(dtype)
    listing = check(_attention(heads), grad_y, qkv, unit=UNITS[dtype])
    assert " attention " in listing
    assert "attention_backward" in listing
    assert "aten::stack" not in listing, "the gradients are written where they belong"


@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_single_tensors(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    q, k, v, grad_y = (torch.randn(shape).to(dtype) for _ in range(4))
    # Queries in another memory order, values that are repeated, and a scale.
    q = q.transpose(1, 2).contiguous().transpose(1, 2)

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        v = v[:1].expand(len(v), -1, -1, -1)
        return F.scaled_dot_product_attention(q, k, v, scale=0.3)

    listing = check(attention, grad_y, q, k, v, unit=UNITS[dtype])
    assert " attention " in listing
    assert "attention_backward" in listing


def test_gradients_that_are_stacked_in_another_order() -> None:
    torch.manual_seed(2)
    qkv, grad_y = torch.randn(2, 5, 3, 3, 3), torch.randn(2, 3, 5, 3)

    def attention(qkv: Tensor) -> Tensor:
        v, q, k = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v)

    assert "attention_backward" in check(attention, grad_y, qkv)


def test_the_logarithm_is_returned_as_torch_does() -> None:
    torch.manual_seed(3)
    q, k, v = (torch.randn(2, 3, 10, 8) for _ in range(3))
    operation = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def logsumexp(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        y, sums = operation(q, k, v)
        return y, sums

    results, listing = in_core(logsumexp, q, k, v)
    assert " attention " in listing
    for result, expected in zip(results, operation(q, k, v), strict=True):
        torch.testing.assert_close(result, expected)
        assert result is not None
        assert result.stride() == expected.stride()


@pytest.mark.parametrize("kind", ["causal", "masked", "crossed", "float64"])
def test_other_attentions_are_torchs(kind: str) -> None:
    torch.manual_seed(4)
    dtype = torch.float64 if kind == "float64" else torch.float32
    q, k, v, grad_y = (torch.randn(2, 3, 6, 8, dtype=dtype) for _ in range(4))
    if kind == "crossed":
        q, grad_y = q[:, :, :4].contiguous(), grad_y[:, :, :4].contiguous()

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if kind == "masked":
            mask = torch.ones(6, 6, dtype=q.dtype).tril().log()
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return F.scaled_dot_product_attention(q, k, v, is_causal=kind == "causal")

    listing = check(attention, grad_y, q, k, v)
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in listing or kind == "masked"
    assert "attention_backward  fused" not in listing
