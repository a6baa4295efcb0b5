import pytest
import torch
from proprelu import ratio_of
from proprelu.models import create, vit
from torch import nn
from torch.nn import functional as F


@pytest.mark.parametrize("stem", ["patch", "scaled_relu", "early"])
def test_each_stem_gives_the_same_tokens(stem):
    model = vit("3:1", stem=stem, embed_dim=16, depth=1, in_channels=1, num_classes=7)
    out = model(torch.randn(2, 1, 28, 28))
    assert out.shape == (2, 7)
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    if stem == "scaled_relu":
        assert (ratio_of(model).relus, ratio_of(model).convs) == (1, 4)


def test_attention_is_torchs():
    torch.manual_seed(0)
    block = create("vit", embed_dim=8, num_heads=2, depth=1).blocks[0].eval()
    reference = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
    )
    names = {
        "self_attn.in_proj_weight": block.qkv.weight,
        "self_attn.in_proj_bias": block.qkv.bias,
        "self_attn.out_proj.weight": block.proj.weight,
        "self_attn.out_proj.bias": block.proj.bias,
        "linear1.weight": block.fc1.weight,
        "linear1.bias": block.fc1.bias,
        "linear2.weight": block.fc2.weight,
        "linear2.bias": block.fc2.bias,
        "norm1.weight": block.norm1.weight,
        "norm1.bias": block.norm1.bias,
        "norm2.weight": block.norm2.weight,
        "norm2.bias": block.norm2.bias,
    }
    reference.load_state_dict(names)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(block(x), reference.train()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("stem", ["patch", "scaled_relu"])
def test_it_trains_as_one_program(stem, bf16, trains_alike):
    torch.manual_seed(0)
    options = {"image_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2, "width": 8}
    trains_alike(vit(stem=stem, num_classes=4, **options), bf16=bf16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 30}, "patch_size must divide image_size"),
        ({"num_heads": 7}, "num_heads must divide embed_dim, got 4 and 28, 7 and 96"),
        ({"stem": "conv"}, "stem must be patch, scaled_relu, early, got 'conv'"),
        ({"stem": "early", "patch_size": 7}, "power of two, got 7"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        vit(**options)
