"""Converted networks of torchvision compute the same when they are merged."""

import copy
import warnings

import proprelu
import pytest
import torch
import torchvision
from torch import nn

NETWORKS = ["resnet18", "mobilenet_v2", "googlenet"]
# Transformers, and a network of 640 million parameters.
LEFT_OUT = ("vit", "swin", "maxvit", "regnet_y_128gf")
ALL = [
    name
    for name in torchvision.models.list_models(module=torchvision.models)
    if not name.startswith(LEFT_OUT) and name not in NETWORKS
]
RECTIFIERS = ("relu", "relu6", "hardswish")


def build(name):
    special = name in ("googlenet", "inception_v3")
    options = {"aux_logits": False, "init_weights": False} if special else {}
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(torchvision.models, name)(weights=None, **options)


@pytest.mark.parametrize("ratio", ["2:1", "3:1"])
@pytest.mark.parametrize(
    "name", [*NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in ALL)]
)
def test_merged(name, ratio, randomized):
    net = randomized(build(name))
    if not name.startswith("convnext"):  # its activations follow linear layers
        kinds = (*RECTIFIERS, "silu") if name.startswith("efficientnet") else RECTIFIERS
        net = proprelu.convert(net, ratio, activations=kinds, verify=False).eval()
    size = 96 if name == "inception_v3" else 64
    x = torch.randn(1, 3, size, size)
    exact = proprelu.merge(copy.deepcopy(net).double(), x.double(), cost="macs").report
    assert exact.comparison.worst < 1e-10
    merged = proprelu.merge(net, x, cost="macs", verify=False)
    expected = net(x)
    assert (merged(x) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert exact.macs_after <= exact.macs_before
    if name in NETWORKS:
        assert not any(isinstance(module, nn.BatchNorm2d) for module in merged.modules())
        assert exact.left == ()


def test_a_mobilenet_of_linear_blocks_has_a_convolution_for_each(randomized):
    net = randomized(build("mobilenet_v2"))
    sites = proprelu.plan_for(net, "1:1").sites
    # The stem and the head keep their activations.
    keep = [number in (0, len(sites) - 1) for number in range(len(sites))]
    linear = proprelu.convert(net, "1:1", keep, verify=False)
    merged = proprelu.merge(linear, torch.randn(1, 3, 64, 64), cost="macs")
    convs = [module for module in merged.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) <= 20  # of 52
    assert merged.report.macs_after < 0.8 * merged.report.macs_before
    assert merged.report.comparison.worst < 1e-5
