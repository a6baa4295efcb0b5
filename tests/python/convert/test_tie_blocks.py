import warnings

import pytest
import torch
from proprelu import convert, ratio_of
from proprelu.convert import tie_blocks
from proprelu.nn import TiedBlockConv2d, TiedLinear
from torch import nn
from torchvision.models import mobilenet_v3_small, resnet18


def tied(model):
    return [m for m in model.modules() if isinstance(m, (TiedBlockConv2d, TiedLinear))]


def dense(layer):
    """The weight of the dense convolution that equals a tied one."""
    blocks = layer.num_blocks
    out_channels, in_channels, *size = layer.weight.shape
    weight = layer.weight.new_zeros(blocks, out_channels, blocks, in_channels, *size)
    for block in range(blocks):
        weight[block, :, block] = layer.weight.detach()
    return weight.flatten(2, 3).flatten(0, 1)


def test_all_of_a_resnet_is_tied_but_its_first_convolution():
    torch.manual_seed(0)
    model = resnet18(num_classes=10).eval()
    model.layer1[0].conv1.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = tie_blocks(model, 2)
    assert len(tied(result)) == 19
    assert type(result.conv1) is nn.Conv2d
    assert list(result.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not result.layer1[0].conv1.weight.requires_grad
    assert not result.training
    assert result(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert str(ratio_of(convert(result, "2:1"))) == str(ratio_of(convert(model, "2:1")))
    assert result.layer2[0].conv1.stride == (2, 2)
    half = tie_blocks(model.bfloat16(), 4, inplace=True)
    assert half is model
    assert all(layer.weight.dtype == torch.bfloat16 for layer in tied(half))


@pytest.mark.parametrize("init", ["mean", "slice", "svd"])
def test_tying_inverts_the_dense_form(init):
    """Tying the dense form of a tied convolution gives the tied convolution."""
    torch.manual_seed(0)
    origin = TiedBlockConv2d(6, 9, 3, num_blocks=3).double()
    conv = nn.Conv2d(6, 9, 3).double()
    with torch.no_grad():
        conv.weight.copy_(dense(origin))
        conv.bias.copy_(origin.bias.repeat(3))
    (result,) = tied(tie_blocks(nn.Sequential(conv), 3, init))
    x = torch.randn(2, 6, 5, 5).double()
    torch.testing.assert_close(result(x), conv(x))


def test_the_mean_is_the_nearest():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 3)
    distances = {}
    for init in ("mean", "slice", "svd"):
        (layer,) = tied(tie_blocks(nn.Sequential(conv), 2, init))
        distances[init] = (dense(layer) - conv.weight).norm()
    assert distances["mean"] < distances["slice"]
    assert distances["mean"] < distances["svd"]


def test_groups_are_divided_among_blocks():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, groups=4)
    (layer,) = tied(tie_blocks(nn.Sequential(conv), 2))
    assert layer.groups == 2
    halves = conv.weight.detach().chunk(2)
    torch.testing.assert_close(layer.weight.detach(), (halves[0] + halves[1]) / 2)


def test_gates_are_tied_too():
    torch.manual_seed(0)
    result = tie_blocks(mobilenet_v3_small(num_classes=10).eval(), 4)
    paths = [path for path, m in result.named_modules() if isinstance(m, TiedBlockConv2d)]
    assert any(path.endswith("fc1") for path in paths)
    depthwise = [m for m in result.modules() if type(m) is nn.Conv2d and m.groups > 1]
    assert depthwise
    assert type(result.classifier[0]) is nn.Linear
    assert result(torch.randn(1, 3, 64, 64)).shape == (1, 10)

    class SEModule(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(8, 4), nn.Linear(4, 8)

    gate = nn.Sequential(nn.Conv2d(8, 8, 1), SEModule(), nn.Linear(8, 8))
    assert [type(m) for m in tied(tie_blocks(gate))] == [TiedBlockConv2d, TiedLinear, TiedLinear]


def test_a_network_of_timm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm

        model = timm.create_model("legacy_seresnet18", pretrained=False, num_classes=10).eval()
    result = tie_blocks(model, 2, skip=["layer4.*"])
    paths = [path for path, m in result.named_modules() if isinstance(m, TiedBlockConv2d)]
    assert any("se_module" in path for path in paths)
    assert not any(path.startswith("layer4") for path in paths)
    assert result(torch.randn(2, 3, 64, 64)).shape == (2, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": 1}, "num_blocks must be 2 or more, got 1"),
        ({"init": "median"}, "init must be 'mean', 'slice', 'svd', got 'median'"),
        ({"num_blocks": 7}, "model must have convolutions with channels divisible by num_blocks 7"),
        ({"skip": "*"}, "skip fewer layers"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        tie_blocks(resnet18(), **arguments)
    assert "\n" not in str(caught.value)
