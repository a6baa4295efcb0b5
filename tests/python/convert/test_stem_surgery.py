import warnings

import pytest
import torch
from proprelu import convert, plan_for, ratio_of
from proprelu.convert import conv_stem
from proprelu.nn import ConvStem, EarlyConvStem
from torch import nn
from torchvision.models import VisionTransformer


def vit(patch_size=8):
    torch.manual_seed(0)
    return VisionTransformer(32, patch_size, 2, 2, hidden_dim=16, mlp_dim=32, num_classes=5).eval()


@pytest.mark.parametrize("stem", ["scaled_relu", "relu", "early", "module"])
def test_a_transformer_of_torchvision(stem):
    model, x = vit(), torch.randn(2, 3, 32, 32)
    new = nn.Conv2d(3, 16, 8, stride=8) if stem == "module" else stem
    result = conv_stem(model, new, width=4)
    assert result(x).shape == model(x).shape
    kept = [key for key in model.state_dict() if not key.startswith("conv_proj")]
    state = result.state_dict()
    assert all(torch.equal(model.state_dict()[key], state[key]) for key in kept)
    assert isinstance(model.conv_proj, nn.Conv2d)
    assert not result.training
    assert not result.conv_proj.training


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_transformers_of_timm(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm

        model = timm.create_model(name, pretrained=False, num_classes=5, img_size=32).eval()
    result = conv_stem(model.double(), width=4, inplace=True)
    assert result is model
    assert isinstance(result.patch_embed.proj, ConvStem)
    assert result(torch.randn(2, 3, 32, 32).double()).shape == (2, 5)


def test_the_stem_has_a_ratio():
    result = conv_stem(vit(), width=4)
    assert len(plan_for(result, "3:1").sites) == 3
    converted = convert(result, "3:1")
    assert ratio_of(converted).relus == 1
    assert conv_stem(vit(), "early", ratio="3:1").conv_proj.stages[-1].inplace
    assert isinstance(conv_stem(vit(), "early").conv_proj, EarlyConvStem)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4)), {}, "conv_stem needs a vision transformer"),
        (lambda: vit(patch_size=1), {}, "patch_size must be even"),
        (lambda: vit(), {"stem": "late"}, "act must be scaled_relu"),
    ],
)
def test_errors(model, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        conv_stem(model(), **options)
    assert "\n" not in str(caught.value)
