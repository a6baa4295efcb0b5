import proprelu
import pytest
import torch
from proprelu.merge import hoist_padding
from torch import nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1)
        )

    def forward(self, x):
        return (x + self.layers(x)).relu()


def test_merged_without_corrections_the_result_is_what_hoisting_made(merges, randomized):
    net = randomized(nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, 2, 1)))
    x = torch.randn(2, 1, 17, 16)
    hoisted = hoist_padding(net, x)
    assert [conv.padding for conv in hoisted] == [(2, 2), (0, 0)]
    assert [conv.padding for conv in net] == [(1, 1), (1, 1)]
    merged = merges(hoisted, x, least=1)
    assert type(merged.get_submodule("0")) is nn.Conv2d
    y, before = merged(x), net(x)
    assert y.shape == before.shape
    torch.testing.assert_close(y[..., 1:-1, 1:-1], before[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(y, before, atol=1e-2)


def test_a_converted_residual_network_keeps_its_weights_mode_and_shapes(randomized):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), Residual(), Residual())
    sites = proprelu.plan_for(net, "1:1").sites
    keep = [site.name not in ("2.layers.2", "3.layers.2") for site in sites]
    converted = proprelu.convert(net, "1:1", keep).train()
    x = torch.randn(2, 3, 9, 8)
    hoisted = hoist_padding(converted, x)
    assert hoisted.training
    assert hoisted[2].layers[0].padding == (2, 2)
    assert hoisted[2].layers[3].padding == (0, 0)
    assert all(torch.equal(hoisted.state_dict()[k], v) for k, v in converted.state_dict().items())
    assert hoisted(x).shape == converted(x).shape
    assert hoist_padding(converted, x, inplace=True) is converted


def test_a_convolution_of_two_chains_is_left_and_nothing_to_hoist_is_refused():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x))

    for net in (Shared(), nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1))):
        with pytest.raises(ValueError, match="must have a padded convolution after another one"):
            hoist_padding(net, torch.randn(1, 3, 8, 8))
