import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from proprelu import Ratio, plan_for, ratio_of
from proprelu.nn import Dropped, ProportionalBlock, relus
from torch import nn


def test_two_to_one_is_conv_norm_conv_norm_relu():
    block, x = ProportionalBlock(3, 8, stride=2).train(), torch.randn(4, 3, 9, 7)
    expected = copy.deepcopy(block)
    y = expected.norms[1](expected.convs[1](expected.norms[0](expected.convs[0](x))))
    assert torch.equal(block(x), F.relu(y))
    assert block(x).shape == (4, 8, 5, 4)


def test_a_residual_is_added_before_the_last_place():
    block, x = ProportionalBlock(8, 8, "2:1", placement="first", residual=True), None
    x = torch.randn(2, 8, 6, 6)
    block.eval()
    y = F.relu(block.norms[0](block.convs[0](x)))
    assert torch.equal(block(x), block.norms[1](block.convs[1](y)) + x)


@pytest.mark.parametrize("ratio", ["1:1", "3:2", (3, 1), Ratio(4, 2)])
@pytest.mark.parametrize("placement", ["last", "first", "even", "front", "back", "block_last"])
@pytest.mark.parametrize("norm", ["batch", "group", None, nn.InstanceNorm2d])
def test_it_has_as_many_of_each_as_the_ratio_says(ratio, placement, norm):
    block = ProportionalBlock(4, 6, ratio, norm=norm, placement=placement, stride=2, residual=True)
    net = nn.Sequential(block)  # the block is not the root module
    assert ratio_of(block) == (block.ratio.convs, block.ratio.relus)
    assert plan_for(net, ratio, placement).keep == [isinstance(r, nn.ReLU) for r in block.relus]
    assert (block.convs[0].bias is None) == (norm is not None)
    out = block(torch.randn(2, 4, 7, 5, requires_grad=True))
    assert out.shape == (2, 6, 4, 3)
    out.sum().backward()
    assert all(p.grad is not None for p in block.parameters())


def test_it_survives_torch_transforms():
    block, x = ProportionalBlock(4, 4, "3:2", groups=2, dilation=2, residual=True), None
    x = torch.randn(2, 4, 8, 8)
    block.eval()
    y = block(x)
    assert torch.equal(pickle.loads(pickle.dumps(block))(x), y)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(x), y, atol=1e-6)
    assert torch.allclose(torch.export.export(block, (x,)).module()(x), y, atol=1e-6)
    assert block.double()(x.double()).dtype == torch.float64
    assert "ratio=3:2" in repr(block)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": "1:2"}, "convs >= relus"),
        ({"placement": "middle"}, "placement must be"),
        ({"placement": [True]}, "a mask must have"),
        ({"norm": "layer"}, 'norm must be "batch", "group", None'),
        ({"residual": True, "kernel_size": 2}, "use an odd kernel_size"),
        ({"residual": True, "padding": 0}, "omit padding"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ProportionalBlock(4, 4, **options)


def test_relus_are_modules_for_sites():
    made = relus([0, 0, 1, 1], "2:1", "block_last")
    assert [type(m) for m in made] == [nn.ReLU, Dropped, nn.ReLU, Dropped]
    assert len(relus(7, "3:1")) == 7


def test_a_block_is_reparameterized_by_timm():
    import timm

    torch.manual_seed(0)
    net = nn.Sequential(
        ProportionalBlock(3, 8, "3:1", stride=2, residual=True, norm="batch"),
        ProportionalBlock(8, 8, norm="group"),
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.bias)
    net, x = net.double().eval(), torch.randn(2, 3, 9, 7, dtype=torch.double)
    merged = timm.utils.reparameterize_model(net)
    torch.testing.assert_close(merged(x), net(x))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in merged.modules())
    assert any(isinstance(module, nn.GroupNorm) for module in merged.modules())
    with pytest.raises(ValueError, match="must be in evaluation mode"):
        net.train()[0].reparameterize()
