from itertools import pairwise

import pytest
import torch
from proprelu import plan_for
from proprelu.nn import DecomposedConv2d, deep_relu_form
from torch import nn
from torch.nn import functional as F

FORMS = {"linear": DecomposedConv2d, "relu": deep_relu_form}


def large(x, weight, bias, padding_mode):
    radius = weight.shape[-1] // 2
    mode = "constant" if padding_mode == "zeros" else "circular"
    return F.conv2d(F.pad(x, (radius,) * 4, mode), weight, bias)


@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
@pytest.mark.parametrize("variant", ["full", "lean"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [3, 5, 7, 9])
def test_it_is_the_large_kernel(size, form, variant, padding_mode):
    generator = torch.Generator().manual_seed(size)
    weight = torch.randn(3, 2, size, size, generator=generator)
    bias = torch.randn(3, generator=generator)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        layer = FORMS[form](weight.to(dtype), bias.to(dtype), variant, padding_mode)
        for n, h, w in ((1, 9, 9), (2, 11, 5), (1, 4, 10)):
            if padding_mode == "circular" and min(h, w) < size // 2:
                continue  # torch's circular padding wraps around only once
            x = torch.randn(n, 2, h, w, generator=generator).to(dtype)
            found, expected = layer(x), large(x, weight.to(dtype), bias.to(dtype), padding_mode)
            assert found.shape == expected.shape
            assert (found - expected).abs().max() < 10 * tolerance * expected.abs().max()


def test_parameters_are_the_formulas():
    m, c, k = 5, 3, 4
    weight = torch.randn(m, c, 2 * k + 1, 2 * k + 1)
    for variant, channels in (
        ("full", [c] + [c * (2 * level + 1) ** 2 for level in range(1, k)] + [m]),
        ("lean", [c] + [8 * level * c + m for level in range(1, k)] + [m]),
    ):
        layer = DecomposedConv2d(weight, variant=variant)
        assert [conv.out_channels for conv in layer] == channels[1:]
        expected = sum(9 * a * b for a, b in pairwise(channels))
        assert sum(p.numel() for p in layer.parameters()) == expected
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            layer(torch.randn(1, c, 8, 6))
        assert counter.get_total_flops() == 2 * 48 * expected


def test_from_a_convolution():
    for conv in (
        nn.Conv2d(2, 3, 5, padding=2).double(),
        nn.Conv2d(2, 3, 7, padding="same", bias=False, padding_mode="circular"),
    ):
        layer = DecomposedConv2d.from_conv(conv, "lean")
        x = torch.randn(2, 2, 8, 8, dtype=conv.weight.dtype)
        torch.testing.assert_close(layer(x), conv(x), rtol=1e-4, atol=1e-5)


def test_its_gradients_are_those_of_the_large_kernel():
    weight = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    expected = torch.autograd.grad(large(x, weight, None, "zeros"), x, grad)[0]
    for make in FORMS.values():
        layer = make(weight)
        torch.testing.assert_close(torch.autograd.grad(layer(x), x, grad)[0], expected)
        layer(x).sum().backward()
        assert all(p.grad is not None for p in layer.parameters())


def test_the_relus_are_sites():
    net = deep_relu_form(torch.randn(2, 2, 9, 9))
    assert [site.conv for site in plan_for(net, "3:1").sites] == ["0", "2", "4"]


@pytest.mark.parametrize("form", FORMS)
def test_it_survives_torch_transforms(form, survives_torch_transforms):
    torch.manual_seed(0)
    survives_torch_transforms(FORMS[form](torch.randn(3, 2, 5, 5)), torch.randn(2, 2, 7, 6))


@pytest.mark.parametrize("form", FORMS)
def test_it_trains_as_one_program(form, trains_alike, classifier):
    torch.manual_seed(0)
    layer = FORMS[form](0.1 * torch.randn(6, 4, 5, 5), variant="lean")
    trains_alike(classifier(4, layer, nn.BatchNorm2d(6), nn.ReLU()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: DecomposedConv2d(torch.ones(1, 1, 4, 4)),
            r"odd and 3 or larger, .* \[1, 1, 4, 4\]",
        ),
        (lambda: DecomposedConv2d(torch.ones(1, 1, 3, 5)), "square"),
        (lambda: DecomposedConv2d(torch.ones(3, 3)), r"weight must be .* got \(3, 3\)"),
        (lambda: DecomposedConv2d(torch.ones(1, 1, 3, 3), variant="thin"), 'got "thin"'),
        (lambda: deep_relu_form(torch.ones(1, 1, 3, 3), padding_mode="reflect"), "got 'reflect'"),
        (lambda: DecomposedConv2d.from_conv(nn.Conv2d(2, 2, 5)), "padding that keeps the size"),
        (lambda: DecomposedConv2d.from_conv(nn.Conv2d(2, 2, 5, 2, 2)), "stride 1"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
