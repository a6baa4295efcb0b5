import pytest
import torch
from proprelu import plan_for
from proprelu.nn import ConvStem, EarlyConvStem
from torch import nn


def test_the_stem_layer_by_layer():
    stem = ConvStem(12, patch_size=8, width=4).eval()
    convs = [m for m in stem.modules() if isinstance(m, nn.Conv2d)]
    geometry = [(c.kernel_size[0], c.stride[0], c.padding[0], c.bias is None) for c in convs]
    assert geometry == [(7, 2, 3, True), (3, 1, 1, True), (3, 1, 1, True), (4, 4, 0, False)]
    x = torch.randn(2, 3, 32, 24)
    expected = x
    norms = [m for m in stem.modules() if isinstance(m, nn.BatchNorm2d)]
    for conv, norm in zip(convs[:-1], norms, strict=True):
        expected = torch.relu(norm(conv(expected)))
    expected = convs[-1](expected)
    torch.testing.assert_close(stem(x), expected.flatten(2).transpose(1, 2))
    stem.flatten = False
    torch.testing.assert_close(stem(x), expected)


def test_parameters_are_those_of_the_reference():
    assert sum(p.numel() for p in ConvStem(384).parameters()) == 1_656_768
    early = EarlyConvStem(64)
    widths = [c.out_channels for c in early.modules() if isinstance(c, nn.Conv2d)]
    assert widths == [8, 16, 32, 64, 64]


@pytest.mark.parametrize("act", ["scaled_relu", "relu", "bn", "none"])
def test_what_follows_each_convolution(act):
    stem = ConvStem(8, 4, 4, act, "3:1")
    kinds = [type(m) for m in stem.modules()]
    assert kinds.count(nn.BatchNorm2d) == (3 if act in ("scaled_relu", "bn") else 0)
    assert kinds.count(nn.ReLU) == (1 if act in ("scaled_relu", "relu") else 0)
    assert (stem.stages[0].bias is None) == (act in ("scaled_relu", "bn"))


@pytest.mark.parametrize("ratio", ["1:1", "3:1", "3:2"])
def test_its_relus_are_sites(ratio):
    for stem, convs in ((ConvStem(16, 8, 4, ratio=ratio), 3), (EarlyConvStem(16, 8, ratio), 3)):
        plan = plan_for(stem, ratio)
        assert len(plan.sites) == convs
        kept = [m for m in stem.modules() if isinstance(m, nn.ReLU)]
        assert len(kept) == plan.kept


@pytest.mark.parametrize("make", [lambda: ConvStem(8, 4, 6), lambda: EarlyConvStem(8, 4)])
def test_it_survives_torch_transforms(make, survives_torch_transforms):
    torch.manual_seed(0)
    survives_torch_transforms(make(), torch.randn(2, 3, 16, 12))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvStem(8, 15), "patch_size must be even, .* got 15; use 16"),
        (lambda: ConvStem(8, 0), "got 0; use 2"),
        (lambda: ConvStem(8, act="gelu"), "act must be scaled_relu, relu, bn, none, got 'gelu'"),
        (lambda: ConvStem(8, ratio="1:2"), "convs >= relus"),
        (lambda: EarlyConvStem(64, 12), "patch_size must be a power of two, got 12"),
        (lambda: EarlyConvStem(12, 16), "embed_dim must be a multiple of 8"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
