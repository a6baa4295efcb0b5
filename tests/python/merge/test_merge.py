"""What is merged, and that it computes the same."""

import copy

import proprelu
import pytest
import torch
from proprelu.merge.modules import form_of
from proprelu.nn import BorderedSequential, FramedConv2d, TiedBlockConv2d
from torch import nn
from torch.nn import functional as F


def kinds(merged):
    """The classes of the outermost layers."""
    return [type(module).__name__ for module in merged.children()]


def test_norms_are_folded_into_the_convolution_before(merges, randomized):
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=4, dilation=2), nn.BatchNorm2d(8, affine=False), nn.ReLU(),
    )  # fmt: skip
    merged = merges(randomized(net), torch.randn(2, 3, 14, 15))
    assert kinds(merged) == ["Conv2d", "ReLU", "Conv2d", "ReLU"]
    assert merged.get_submodule("3").groups == 4


@pytest.mark.parametrize("padding", [0, 1])
def test_a_norm_is_folded_into_the_convolution_after(merges, randomized, padding):
    net = nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, padding=padding), nn.ReLU())
    merged = merges(randomized(net), torch.randn(2, 8, 6, 7))
    assert kinds(merged) == ["BorderedSequential" if padding else "Conv2d", "ReLU"]


class InvertedResidual(nn.Module):
    def __init__(self, channels=4, expand=6, stride=1, groups=1):
        super().__init__()
        inner, self.stride = channels * expand, stride
        self.expand = nn.Conv2d(channels, inner, 1, bias=False, groups=groups)
        self.depthwise = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.project = nn.Conv2d(inner, channels, 1, bias=False, groups=groups)
        self.norms = nn.ModuleList(map(nn.BatchNorm2d, (inner, inner, channels)))
        self.act = nn.ReLU6()

    def forward(self, x):
        y = self.act(self.norms[0](self.expand(x)))
        y = self.act(self.norms[1](self.depthwise(y)))
        y = self.norms[2](self.project(y))
        return x + y if self.stride == 1 else y


def linear(model):
    return proprelu.convert(model, "1:1", [False] * len(proprelu.plan_for(model, "1:1").sites))


@pytest.mark.parametrize("stride", [1, 2])
def test_an_inverted_residual_becomes_one_convolution(merges, randomized, stride):
    net = linear(randomized(InvertedResidual(stride=stride)))
    merged = merges(net, torch.randn(2, 4, 9, 8), least=1)
    assert isinstance(merged.expand, BorderedSequential)
    assert "add" not in str(merged.code)
    assert merged.expand[0].kernel_size == (3, 3)


def test_a_chain_of_linear_blocks_with_groups(merges, randomized):
    blocks = [InvertedResidual(8, 6, groups=2), InvertedResidual(8, 6, 2, groups=4)]
    net = randomized(linear(nn.Sequential(*blocks)))
    merged = merges(net, torch.randn(1, 8, 12, 11))
    assert merged.report.macs_after < merged.report.macs_before


def test_padded_kernels_in_a_row_are_exact_at_the_border(merges, randomized):
    stem = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU()
    )
    for size in ((40, 37), (48, 48)):
        merged = merges(randomized(stem), torch.randn(2, 1, *size))
        assert kinds(merged) == ["FramedConv2d", "ReLU"]
    framed = merged.get_submodule("0")
    assert isinstance(framed, FramedConv2d)
    # The example decides what is chosen; any size is right.
    for size in ((3, 3), (4, 30), (1, 2), (41, 40)):
        x = torch.randn(1, 1, *size)
        torch.testing.assert_close(merged(x), stem(x), atol=1e-4, rtol=1e-4)


class Branches(nn.Module):
    """A block in the way of RepVGG: a kernel, a pointwise convolution and the identity."""

    def __init__(self, identity=True):
        super().__init__()
        self.wide = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.wide_norm = nn.BatchNorm2d(4)
        self.narrow = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4) if identity else None

    def forward(self, x):
        y = self.wide_norm(self.wide(x)) + self.narrow(x)
        if self.norm is not None:
            y += self.norm(x)
        return F.relu(y)


@pytest.mark.parametrize("identity", [True, False])
def test_parallel_branches_become_one_convolution(merges, randomized, identity):
    net = randomized(nn.Sequential(Branches(identity), Branches(identity)))
    merged = merges(net, torch.randn(2, 4, 7, 6), least=2)
    assert all(type(m) is nn.Conv2d for m in merged.modules() if isinstance(m, nn.Conv2d))


def test_tied_blocks_are_grouped_when_merged(merges, randomized):
    net = nn.Sequential(
        TiedBlockConv2d(8, 8, 3, padding=1, num_blocks=2, groups=2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 4, 1), nn.ReLU(), TiedBlockConv2d(4, 8, 1, num_blocks=4), nn.BatchNorm2d(8),
    )  # fmt: skip
    merged = merges(randomized(net), torch.randn(2, 8, 6, 6), least=3)
    assert merged.get_submodule("0").groups == 4


class Shared(nn.Module):
    """One convolution with a norm for each of its uses."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])

    def forward(self, x):
        x = self.norms[0](self.conv(x)).relu()
        return self.norms[1](self.conv(x)).relu()


def test_a_convolution_that_is_used_twice_is_folded_for_each_use(merges, randomized):
    merges(randomized(Shared()), torch.randn(2, 4, 6, 6), least=2)


def test_a_value_with_two_readers_ends_a_chain(merges, randomized):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)

        def forward(self, x):
            y = self.first(x)
            return torch.cat([self.second(y), y], 1)

    merged = merges(randomized(Two()), torch.randn(2, 3, 6, 6), least=2)
    assert [run.reason for run in merged.report.runs] == ["", ""]


def test_a_value_that_is_overwritten_later_is_read_in_time(merges, randomized):
    class Overwriting(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)
            self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.stem(x)
            y = self.first(x)
            x = F.relu(x, inplace=True)
            y = self.second(y)
            return y + x

    merged = merges(randomized(Overwriting()), torch.randn(2, 3, 6, 6))
    assert len(list(merged.children())) == 2


def test_dropout_identities_and_dropped_activations_are_gone(merges, randomized):
    net = nn.Sequential(
        nn.Conv2d(3, 16, 1), nn.Identity(), nn.Dropout(0.5), nn.ReLU(), nn.Conv2d(16, 3, 1)
    )
    merged = merges(linear(randomized(net)), torch.randn(2, 3, 6, 6), least=1)
    assert kinds(merged) == ["Conv2d"]


def test_the_model_is_not_changed(randomized):
    net = linear(randomized(InvertedResidual()))
    before = copy.deepcopy(net.state_dict())
    x = torch.randn(1, 4, 6, 6)
    y = net(x)
    merged = proprelu.merge(net, x, cost="macs")
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert torch.equal(net(x), y)
    own = {p.data_ptr() for p in net.parameters()}
    assert not own & {p.data_ptr() for p in merged.parameters()}


def test_half_precision_is_merged_in_float64(randomized):
    net = linear(randomized(InvertedResidual()))
    x = torch.randn(1, 4, 8, 8)
    low = copy.deepcopy(net).bfloat16()
    merged = proprelu.merge(low, x.bfloat16(), cost="macs")
    assert merged.expand[0].weight.dtype == torch.bfloat16
    exact = copy.deepcopy(low).float()(x.bfloat16().float())
    error = (merged(x.bfloat16()).float() - exact).abs().max() / exact.abs().max()
    assert error < 0.02


def channels_last(value):
    return value.to(memory_format=torch.channels_last)


def test_the_format_is_channels_last_if_a_weight_or_the_example_is(randomized):
    def is_last(net, x):
        merged = proprelu.merge(net, x, cost="macs")
        return merged.get_submodule("0").weight.stride()[1] == 1

    def plain():
        return randomized(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)))

    x = torch.randn(1, 3, 6, 6)
    assert not is_last(plain(), x)
    assert is_last(channels_last(plain()), x)
    assert is_last(plain(), channels_last(x))


@pytest.mark.parametrize("shape", [(8, 4, 1, 1), (8, 1, 3, 3), (8, 4, 3, 3)], ids=str)
def test_the_format_is_that_of_the_strides_where_both_are_contiguous(shape):
    weight = torch.randn(shape)
    conv = nn.Conv2d(shape[1], shape[0], shape[2:])
    assert not form_of(conv, weight[:1]).channels_last
    assert form_of(conv, channels_last(weight)[:1]).channels_last
    assert form_of(channels_last(conv), (weight, None)).channels_last


def test_a_depthwise_kernel_of_one_weight_has_no_format():
    conv = nn.Conv2d(8, 8, 1, groups=8)
    assert not form_of(channels_last(conv), torch.randn(1, 8, 4, 4)).channels_last


def test_the_norms_of_timm_are_folded_and_its_branches_merged(merges, randomized):
    import timm

    for block in (timm.models.byobnet.RepVggBlock, timm.models.byobnet.MobileOneBlock):
        net = nn.Sequential(block(4, 4), block(4, 4))
        merges(randomized(net), torch.randn(2, 4, 6, 7), least=2)


def test_a_dropped_activation_returns_a_copy_where_it_has_to(merges, randomized):
    class Overwriting(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.first(x)
            y = F.relu(x)
            y.mul_(3)
            return self.second(y) + x

    merges(linear(randomized(Overwriting())), torch.randn(2, 3, 6, 6))


def test_a_forward_that_computes_with_shapes(merges, randomized):
    class Shaped(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))

        def forward(self, x):
            y = self.layers(x)
            n, c, h, w = y.shape
            return y.view(n, c, h * w).transpose(1, 2) if h > 1 else y

    merges(randomized(Shaped()), torch.randn(2, 3, 6, 6), least=1)
