"""Channel means and scaled channels, compared with torch's operations in float64."""

import pytest
import torch
from proprelu import _core
from proprelu.functional import channel_means, scale_channels


def by_definition(x, scale):
    return x * scale.reshape(*scale.shape, *(1 for _ in x.shape[2:]))


def planes(x):
    return x.contiguous()


def channels_last(x):
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def with_gaps(x):
    return torch.stack([x, x], -1)[..., 0]


TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}
SHAPES = [(1, 1, 1, 1), (2, 3, 5, 7), (3, 17, 4, 4), (2, 64, 1, 9), (2, 80, 33), (2, 5, 2, 3, 3)]


@pytest.mark.parametrize("layout", [planes, channels_last, with_gaps])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_means(shape, dtype, layout):
    torch.manual_seed(0)
    x = layout(torch.randn(shape).to(dtype)).requires_grad_()
    exact = x.detach().double().requires_grad_()
    found, expected = channel_means(x), exact.flatten(2).mean(2)
    assert found.dtype == dtype
    tolerance = TOLERANCES[dtype]
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(found.double(), expected, **close)
    grad = torch.randn(shape[:2]).to(dtype)
    (mine,) = torch.autograd.grad(found, x, grad)
    (theirs,) = torch.autograd.grad(expected, exact, grad.double())
    assert mine.dtype == dtype
    torch.testing.assert_close(mine.double(), theirs, **close)


@pytest.mark.parametrize("layout", [planes, channels_last, with_gaps])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_product(shape, dtype, layout):
    torch.manual_seed(0)
    x = layout(torch.randn(shape).to(dtype)).requires_grad_()
    scale = torch.rand(shape[:2]).to(dtype).requires_grad_()
    grad = torch.randn(shape).to(dtype)
    found = scale_channels(x, scale)
    exact = [tensor.detach().double().requires_grad_() for tensor in (x, scale)]
    expected = by_definition(*exact)
    assert found.dtype == dtype
    tolerance = TOLERANCES[dtype]
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(found.double(), expected, **close)
    gradients = torch.autograd.grad(found, (x, scale), grad)
    wanted = torch.autograd.grad(expected, exact, grad.double())
    for mine, theirs in zip(gradients, wanted, strict=True):
        assert mine.dtype == dtype
        size = theirs.abs().max().item()
        torch.testing.assert_close(
            mine.double(), theirs, rtol=tolerance, atol=tolerance * max(1.0, size)
        )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_layout_stays(layout):
    x = torch.randn(2, 6, 4, 5).contiguous(memory_format=layout).requires_grad_()
    y = scale_channels(x, torch.rand(2, 6))
    assert y.is_contiguous(memory_format=layout)
    (grad,) = torch.autograd.grad(y, x, torch.randn(2, 6, 4, 5))
    assert grad.is_contiguous(memory_format=layout)


def test_types_are_promoted_as_by_torch():
    x, scale = torch.randn(2, 3, 4, 4), torch.rand(2, 3)
    for types in ((torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)):
        mine, theirs = (
            result.dtype
            for result in (
                scale_channels(x.to(types[0]), scale.to(types[1])),
                by_definition(x.to(types[0]), scale.to(types[1])),
            )
        )
        assert mine == theirs == torch.float32


def test_without_elements():
    for shape in ((0, 3, 4, 4), (2, 3, 0, 4), (2, 0, 4, 4)):
        x, scale = torch.randn(shape).requires_grad_(), torch.rand(shape[:2]).requires_grad_()
        y = scale_channels(x, scale)
        assert y.shape == x.shape
        assert channel_means(x).shape == x.shape[:2]
        y.sum().backward()
        assert x.grad.shape == x.shape
        assert (scale.grad == 0).all()


@pytest.mark.parametrize("layout", [planes, channels_last, with_gaps])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_opcheck(dtype, layout):
    x = layout(torch.randn(2, 5, 3, 4).to(dtype))
    scale, grad = torch.rand(2, 5).to(dtype), torch.randn(2, 5, 3, 4).to(dtype)
    for wanted in (False, True):
        given = [tensor.detach().requires_grad_(wanted) for tensor in (x, scale)]
        torch.library.opcheck(torch.ops.proprelu.channel_means, given[:1])
        torch.library.opcheck(torch.ops.proprelu.scale_channels, given)
        torch.library.opcheck(torch.ops.proprelu.scale_channels_backward, (grad, *given))


@pytest.mark.parametrize("layout", [planes, channels_last])
def test_it_can_be_differentiated_twice(layout):
    x, scale = layout(torch.randn(2, 3, 2, 2).double()), torch.rand(2, 3).double()
    inputs = (x.requires_grad_(), scale.requires_grad_())
    for operation, given in ((channel_means, inputs[:1]), (scale_channels, inputs)):
        assert torch.autograd.gradcheck(operation, given)
        assert torch.autograd.gradgradcheck(operation, given)


def test_in_a_compiled_function():
    inputs = [torch.randn(2, 3, 4, 4).requires_grad_(), torch.rand(2, 3).requires_grad_()]
    compiled = torch.compile(
        lambda x, scale: scale_channels(x, scale * channel_means(x)),
        backend="aot_eager",
        fullgraph=True,
    )
    x, scale = inputs
    found, expected = compiled(x, scale), by_definition(x, scale * x.mean((2, 3)))
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(
        torch.autograd.grad(found.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("x", "scale"), [((2, 3), (2, 3)), ((2, 3, 4), (2, 4)), ((2, 3, 4), (3,))])
def test_errors(x, scale):
    for scaled in (scale_channels, _core.scale_channels):
        with pytest.raises(ValueError, match="a scale") as caught:
            scaled(torch.ones(x), torch.ones(scale))
        assert "\n" not in str(caught.value)


def test_errors_of_means():
    for means in (channel_means, _core.channel_means):
        with pytest.raises(ValueError, match=r"got .*2, 3") as caught:
            means(torch.ones(2, 3))
        assert "\n" not in str(caught.value)
