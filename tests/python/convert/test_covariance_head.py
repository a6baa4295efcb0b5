import warnings

import proprelu
import pytest
import torch
import torchvision
from proprelu import convert, ratio_of
from proprelu.convert import covariance_head
from proprelu.nn import CovariancePool2d
from torch import nn


def images(size=64):
    return torch.randn(2, 3, size, size)


@pytest.mark.parametrize("name", ["resnet18", "regnet_x_400mf", "efficientnet_b0"])
def test_networks_of_torchvision(name):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=10).eval()
    result = covariance_head(model, 7, dim=8)
    assert result(images()).shape == (2, 7)
    assert not any(isinstance(m, CovariancePool2d) for m in model.modules())
    body = [key for key in model.state_dict() if not key.startswith(("fc", "classifier"))]
    state = result.state_dict()
    assert all(torch.equal(model.state_dict()[key], state[key]) for key in body)
    assert not result.training


@pytest.mark.parametrize("name", ["resnet26", "densenet121", "mobilenetv2_035"])
def test_networks_of_timm(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm

        model = timm.create_model(name, pretrained=False, num_classes=5).eval()
    assert covariance_head(model, dim=8, gaussian=True)(images()).shape == (2, 5)


def test_the_last_stride():
    model = torchvision.models.resnet18(num_classes=10).eval()
    seen = []
    result = covariance_head(model, dim=4, last_stride=1)
    result.layer4.register_forward_hook(lambda m, args, out: seen.append(out.shape[-1]))
    result(images())
    assert seen == [4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm

        other = timm.create_model("resnet26d", pretrained=False, num_classes=5).eval()
    result = covariance_head(other, dim=4, last_stride=1)
    result.layer4.register_forward_hook(lambda m, args, out: seen.append(out.shape[-1]))
    result(images())
    assert seen == [4, 4]


def test_our_own_networks_and_a_ratio():
    model = proprelu.models.create("resnet20", ratio="2:1")
    result = covariance_head(model.bfloat16(), dim=8, inplace=True)
    assert result is model
    assert all(p.dtype == torch.bfloat16 for p in result.parameters())
    result.float()
    before = ratio_of(result)
    assert (before.convs, before.relus) == (20, 11)
    assert ratio_of(convert(result, "1:1")).relus == 20


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: torchvision.models.vgg11(), {}, "got VGG with 0 such averages"),
        (
            lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Linear(3, 4), nn.Linear(4, 5)),
            {},
            "1 such averages and 2 linear layers",
        ),
        (
            lambda: proprelu.models.create("resnet20"),
            {"last_stride": 1},
            "last_stride needs a model with a layer4",
        ),
        (lambda: proprelu.models.create("resnet20"), {"dim": 0}, "at least 1"),
    ],
)
def test_errors(model, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        covariance_head(model(), **options)
    assert "\n" not in str(caught.value)
