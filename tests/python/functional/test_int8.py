"""Convolutions of 8-bit integers, compared with sums of int64, and their scales with formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from proprelu.functional import Int8, int8_conv2d
from proprelu.functional.int8 import conv
from proprelu.functional.int8.clipping import are_gaussian, clipped_scales
from proprelu.functional.int8.quantizer import dequantized, largest, quantized
from torch import Tensor
from torch.nn import functional as F

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"padding": 1},
    "strided": {"stride": 2, "padding": (2, 1)},
    "dilated": {"dilation": 2, "padding": 2},
    "grouped": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 4, "padding": 1, "stride": (1, 2)},
}


def _integers(*shape: int) -> Tensor:
    """Integers up to 127 in float32, with both ends, so that their scale is 127."""
    values = torch.randint(-127, 128, shape).float()
    values.flatten()[:2] = torch.tensor([127.0, -127.0])
    return values


def _by_definition(x: Tensor, weight: Tensor, grad: Tensor, **options: Any) -> list[Tensor]:
    """The three products of integers, in int64."""
    shape = {"stride": 1, "padding": 0, "dilation": 1, **options}
    groups = shape.pop("groups", 1)
    n, channels = x.shape[:2]
    columns = F.unfold(x.double(), weight.shape[2:], **shape).long()
    pixels = columns.shape[-1]
    columns = columns.reshape(n, groups, -1, pixels)
    rows = weight.long().reshape(groups, len(weight) // groups, -1)
    given = grad.long().reshape(n, groups, -1, pixels)
    y = torch.einsum("gok,ngkp->ngop", rows, columns).reshape(grad.shape)
    of_weight = torch.einsum("ngop,ngkp->gok", given, columns).reshape(weight.shape)
    back = torch.einsum("gok,ngop->ngkp", rows, given).reshape(n, -1, pixels)
    of_input = F.fold(back.double(), x.shape[2:], weight.shape[2:], **shape).long()
    assert of_input.shape[1] == channels
    return [y, of_input, of_weight]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("saturated", [False, True])
def test_the_products_are_sums_of_integers(name: str, saturated: bool) -> None:
    torch.manual_seed(0)
    options = SHAPES[name]
    x = _integers(2, 4, 7, 6)
    weight = _integers(8, 4 // options.get("groups", 1), 3, 3)
    if saturated:
        x, weight = torch.full_like(x, 127.0), torch.full_like(weight, -127.0)
    shape = F.conv2d(x, weight, **options).shape
    grad = torch.full(shape, 127.0) if saturated else _integers(*shape)
    grad[:, :, 0, 0] = 127.0  # the scale of each channel
    inputs = x.requires_grad_(), weight.requires_grad_()
    y = int8_conv2d(*inputs, **options, settings=Int8("max"))
    found = [y, *torch.autograd.grad(y, inputs, grad)]
    expected = _by_definition(x.detach(), weight.detach(), grad, **options)
    for value, exact in zip(found, expected, strict=True):
        assert torch.equal(value.detach().double().round().long(), exact)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 5, 7)])
def test_the_quantizer(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, scale = 3 * torch.randn(shape), torch.tensor(2.5)
    exact = np.round(127 * np.clip(x.double().numpy(), -2.5, 2.5) / 2.5)
    found = quantized(x, scale)
    assert found.dtype == torch.int8
    assert np.abs(found.double().numpy() - exact).max() <= 1  # a half may be rounded either way
    assert (found.double().numpy() == exact).mean() > 0.9
    error = (dequantized(found, scale) - x.clamp(-2.5, 2.5)).abs().max()
    assert error <= 2.5 / 127 / 2 * (1 + 1e-5)


def test_halves_are_rounded_to_the_even_number() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 126.5])
    assert quantized(x, torch.tensor(127.0)).tolist() == [0, 2, 2, 0, -2, 126]


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_that_says_nothing_gives_zeros(scale: float) -> None:
    assert not quantized(torch.randn(9), torch.tensor(scale)).any()


def test_stochastic_rounding_is_right_on_average() -> None:
    torch.manual_seed(0)
    x = torch.full((40_000,), 0.3)
    found = quantized(x, torch.tensor(127.0), stochastic=True).double()
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert found.mean().item() == pytest.approx(0.3, abs=4 * (0.21 / len(x)) ** 0.5)


def test_the_largest_magnitude() -> None:
    assert largest(torch.tensor([1.0, -3.0])) == 3
    assert largest(torch.zeros(0)) == 0
    assert largest(torch.tensor([1.0, float("nan")])).isnan()


def _inverted_t(count: int) -> Tensor:
    """A row of mostly small values."""
    row = 0.01 * torch.randn(count)
    row[: count // 50] = torch.randn(count // 50)
    return row


def test_the_two_families() -> None:
    torch.manual_seed(0)
    rows = torch.stack([torch.randn(5000), _inverted_t(5000), 7 * torch.randn(5000) + 1])
    shares = [(row.abs() > row.double().std(correction=0)).double().mean() for row in rows]
    assert are_gaussian(rows).tolist() == [True, False, True]
    assert are_gaussian(rows).tolist() == [bool(share > 0.3) for share in shares]


def test_the_scale_of_an_inverted_t_follows_its_maximum() -> None:
    torch.manual_seed(0)
    rows = torch.stack([torch.randn(5000), _inverted_t(5000)])
    maxima = rows.abs().amax(1)
    rule: Any = ("adaptive", 0.3, 0.8, 1.0)
    first = clipped_scales(rows, torch.zeros(2), *rule)
    assert torch.equal(first, maxima)
    before = torch.tensor([1.0, 0.5])
    scales = clipped_scales(rows, before, *rule)
    torch.testing.assert_close(scales, torch.stack([maxima[0], 0.2 * before[1] + 0.8 * maxima[1]]))
    changed = clipped_scales(rows.flip(0), scales, *rule)  # both change their family
    torch.testing.assert_close(changed, torch.stack([0.2 * scales[0] + 0.8 * maxima[1], maxima[0]]))
    assert torch.equal(clipped_scales(rows, before, "max", 0.3, 0.8, 1.0), maxima)


def test_the_best_direction() -> None:
    torch.manual_seed(0)
    row = _inverted_t(3000)[None]
    (scale,) = clipped_scales(row, torch.zeros(1), "direction", 0.3, 0.8, 1.0)

    def cosine(scale: Tensor) -> float:
        return float(torch.cosine_similarity(row, dequantized(quantized(row, scale), scale)))

    grid = torch.linspace(0.05, 1, 60) * row.abs().max()
    assert cosine(scale) >= cosine(row.abs().max())
    assert cosine(scale) > max(map(cosine, grid)) - 1e-4


SETTINGS = [
    Int8(),
    Int8("max", per_channel=False),
    Int8("direction"),
    Int8(rounding="stochastic"),
    Int8(delayed=True),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_is_near_to_a_convolution(settings: Int8, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(3, 6, 9, 7), torch.randn(5, 6, 3, 3), torch.randn(5)]
    x, weight, bias = (tensor.to(dtype).requires_grad_() for tensor in tensors)
    scales = torch.zeros(5), torch.zeros(())
    y = int8_conv2d(
        x, weight, bias, 2, 1, channel_scales=scales[0], tensor_scale=scales[1], settings=settings
    )
    assert y.dtype == dtype
    exact = [each.detach().double().requires_grad_() for each in (x, weight, bias)]
    expected = F.conv2d(*exact, stride=2, padding=1)
    grad = torch.randn_like(expected)
    found = [y, *torch.autograd.grad(y, (x, weight, bias), grad.to(dtype))]
    for value, reference in zip(
        found, [expected, *torch.autograd.grad(expected, exact, grad)], strict=True
    ):
        assert (value.double() - reference).norm() < 0.03 * reference.norm()
    assert scales[1] > 0
    assert bool((scales[0] > 0).all()) == settings.per_channel


def test_delayed_scales_are_those_of_the_step_before() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3, requires_grad=True)
    channels, whole = torch.zeros(4), torch.zeros(())
    settings = Int8("max", delayed=True)

    def gradient(grad: Tensor, settings: Int8, *scales: Tensor) -> Tensor:
        given = dict(zip(("channel_scales", "tensor_scale"), scales, strict=False))
        y = int8_conv2d(x, weight, **given, settings=settings)
        (found,) = torch.autograd.grad(y, weight, grad)
        return found

    grad = torch.randn(2, 4, 4, 4)
    maxima = grad.abs().amax((0, 2, 3))
    gradient(grad, settings, channels, whole)
    found = gradient(3 * grad, settings, channels, whole)
    clipped = (3 * grad).clamp(-maxima[:, None, None], maxima[:, None, None])
    assert torch.equal(found, gradient(clipped, Int8("max")))
    torch.testing.assert_close(channels, 3 * maxima)


def test_zero_gradients_are_zero_and_those_that_are_not_finite_are_not_hidden() -> None:
    x, weight = torch.randn(2, 3, 6, 6, requires_grad=True), torch.randn(4, 3, 3, 3)
    weight.requires_grad_()
    y = int8_conv2d(x, weight)
    assert not any(g.any() for g in torch.autograd.grad(y, (x, weight), torch.zeros_like(y)))
    for bad in (float("nan"), float("inf")):
        y, grad = int8_conv2d(x, weight), torch.ones_like(y)
        grad[0, 1, 0, 0] = bad
        of_input, of_weight = torch.autograd.grad(y, (x, weight), grad)
        assert not of_input.isfinite().all()
        assert not of_weight[1].isfinite().all()
        assert of_weight[0].isfinite().all()


def test_the_operations_are_registered_completely() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 6, 6, requires_grad=True), torch.randn(6, 4, 3, 3)
    weight.requires_grad_()
    scales = torch.zeros(6), torch.zeros(())
    rest = ([1, 1], [1, 1], [1, 1], 1, "adaptive", True, False, False, 0.3, 0.8, 1.0)
    torch.library.opcheck(conv._conv, (x, weight, None, largest(x), *scales, *rest))
    grad = torch.randn(2, 6, 6, 6)
    rule = ("adaptive", True, False, 0.3, 0.8, 1.0)
    torch.library.opcheck(conv._scales, (grad, *scales, *rule))
    q = quantized(x, largest(x)), quantized(weight, largest(weight))
    shape = (*rest[:4], False)
    torch.library.opcheck(conv._backward, (grad, *q, largest(x), largest(weight), *scales, *shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"clipping": "middle"}, {"rounding": "up"}, {"rate": 0.0}, {"k": -1.0},
        {"gaussian_share": 2.0},
    ],
)  # fmt: skip
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Int8(**wrong)
