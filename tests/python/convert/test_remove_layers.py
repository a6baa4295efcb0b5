"""Layers are removed: what is left computes what the definition says, trains, merges and loads."""

import copy
import pickle

import proprelu
import pytest
import torch
import torchvision
from proprelu.convert import remove_layers
from proprelu.merge import find_removals
from proprelu.nn import RemovedBranch, RemovedLayer
from torch import nn


class Block(nn.Module):
    """A residual block with in-place operations, as those of ResNets."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


class Gated(nn.Module):
    """A branch with a squeeze-and-excitation gate, and a scale that is a parameter."""

    def __init__(self, channels):
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * channels, 2 * channels, 1))
        self.project = nn.Conv2d(2 * channels, channels, 1)
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x):
        inner = torch.relu(self.expand(x))
        return x + self.project(inner * torch.sigmoid(self.gate(inner))) * self.scale


class Dense(nn.Module):
    """A value that is concatenated with what is computed from it."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.cat([x, self.conv(x)], 1)


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        Block(8),
        Gated(8),
        Dense(8),
        nn.Conv2d(16, 8, 1),
        nn.ReLU(),
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


X = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(1))


def test_what_can_be_removed():
    found = {each.name: each for each in find_removals(network(), X)}
    assert {*found} == {"2", "5.conv1", "5.conv2", "5", "6"}
    assert found["2"].layers == ("2", "3")
    assert found["5"].either == ("5.conv1", "5.conv2")
    assert found["5"].last == "5.bn2"
    assert found["6"].layers == ("6.expand", "6.gate.1", "6.project")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["2"], lambda m, x: m[5:](m[4](m[1](m[0](x))))),
        (["5"], lambda m, x: m[6:](torch.relu(m[:5](x)))),
        (["6"], lambda m, x: m[7:](m[:6](x))),
        (
            ["5.conv2"],
            lambda m, x: m[6:](torch.relu(m[5].bn1(m[5].conv1(y := m[:5](x))).relu() + y)),
        ),
        (["5.conv1", "6", "2"], None),
    ],
)
def test_the_rest_computes_the_same(names, expected):
    model = network()
    removed = remove_layers(model, names, X)
    assert remove_layers(model, names, X, inplace=False) is not model
    if expected is not None:
        torch.testing.assert_close(removed(X), expected(copy.deepcopy(model), X.clone()))
    merged = proprelu.merge(removed, X, cost="macs")
    torch.testing.assert_close(merged(X), removed(X), rtol=1e-4, atol=1e-5)
    kinds = {type(module) for module in merged.modules()}
    assert not kinds & {RemovedLayer, RemovedBranch}
    calls = [node for node in merged.graph.nodes if node.op == "call_method"]
    assert not [node for node in calls if node.target == "clone"]


def test_a_model_keeps_its_names_mode_and_class():
    model = network().train()
    removed = remove_layers(model, ["5", "2"], X)
    left = {name for name in model.state_dict() if not name.startswith(("5.", "2.", "3."))}
    assert {*removed.state_dict()} == left
    assert all(module.training for module in removed.modules())
    assert not any(isinstance(module, RemovedLayer) for module in model.modules())
    again = pickle.loads(pickle.dumps(removed)).eval()
    torch.testing.assert_close(again(X), removed.eval()(X))
    assert remove_layers(model, ["2"], X, inplace=True) is model


def test_it_is_counted_and_converted_like_the_model():
    model = network()
    removed = remove_layers(model, ["5"], X)
    assert proprelu.ratio_of(removed).convs == proprelu.ratio_of(model).convs - 2
    names = [site.name for site in proprelu.plan_for(model, "1:1").sites]
    assert [site.name for site in proprelu.plan_for(removed, "1:1").sites] == names
    keep = [number % 2 == 0 for number in range(len(names))]
    one = remove_layers(proprelu.convert(model, "1:1", keep), ["5"], X)
    other = proprelu.convert(removed, "1:1", keep)
    torch.testing.assert_close(one(X), other(X))


def test_it_trains():
    model = nn.Sequential(network(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    removed = remove_layers(model, ["0.5", "0.2"], X)
    images = torch.randint(0, 256, (32, 9, 11, 3), dtype=torch.uint8).numpy()
    data = (images, (torch.arange(32) % 8).numpy())
    theirs = copy.deepcopy(removed)
    history = proprelu.Trainer(removed, proprelu.SGD(lr=0.05), progress=False).fit(
        data, epochs=2, batch_size=16
    )
    assert history.last["train_loss"] < history.column("train_loss")[0]
    changed = [not torch.equal(a, b) for a, b in zip(
        removed.parameters(), theirs.parameters(), strict=True
    )]  # fmt: skip
    assert all(changed)


def test_weights_are_saved_and_loaded(tmp_path):
    model = network()
    names = [site.name for site in proprelu.plan_for(model, "1:1").sites]
    converted = proprelu.convert(model, "1:1", [False] * len(names))
    removed = remove_layers(converted, ["2", "6"], X)
    proprelu.save_weights(removed, tmp_path / "a.safetensors")
    loaded = proprelu.load(tmp_path / "a.safetensors", network(), X)
    torch.testing.assert_close(loaded(X), removed(X))
    merged = proprelu.merge(removed, X, cost="macs")
    proprelu.save_merged(merged, removed, tmp_path / "b.safetensors")
    again = proprelu.load(tmp_path / "b.safetensors", network(), X)
    torch.testing.assert_close(again(X), merged(X))
    with pytest.raises(ValueError, match="others dropped or removed"):
        proprelu.load_weights(converted, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="must have the"):
        proprelu.load(tmp_path / "a.safetensors", nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), X)


def test_a_hidden_write_does_not_reach_the_shortcut():
    """The in-place ReLU after a removed convolution must not change the block's input."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Block(8)).eval()
    removed = remove_layers(model, ["1.conv1"], X)
    block, y = model[1], model[0](X)
    expected = torch.relu(block.bn2(block.conv2(torch.relu(y))) + y)
    torch.testing.assert_close(removed(X), expected)
    torch.testing.assert_close(proprelu.merge(removed, X, cost="macs")(X), expected)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0"], "layers that can be removed, got '0'"),
        (["7.conv"], "got '7.conv'"),
        (["5.conv1", "5.conv2"], "must leave one of 5.conv1, 5.conv2"),
    ],
)
def test_what_cannot_be_removed_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        remove_layers(network(), names, X)


def test_hooked_shared_and_read_layers_stay():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    hooked = nn.Conv2d(4, 4, 3, padding=1)
    hooked.register_forward_hook(lambda *_: None)
    net = nn.Sequential(conv, nn.ReLU(), conv, nn.ReLU(), hooked, nn.Conv2d(4, 4, 1)).eval()
    assert [each.name for each in find_removals(net, torch.randn(1, 4, 8, 8))] == ["5"]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "regnet_y_400mf", "convnext_tiny"])
def test_networks_of_torchvision(name):
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(num_classes=5).eval()
    x = torch.randn(1, 3, 64, 64)
    branches = [each for each in find_removals(model, x) if each.last is not None]
    assert len(branches) > 4
    removed = remove_layers(model, [each.name for each in branches[::2]], x)
    merged = proprelu.merge(removed, x, cost="macs")  # which compares
    assert "Removed" not in "".join(type(module).__name__ for module in merged.modules())
    assert sum(p.numel() for p in merged.parameters()) < sum(p.numel() for p in model.parameters())


def test_sensitivity_measures_what_removing_does():
    model = network()
    ranking = proprelu.sensitivity(model, X, layers=True, progress=False)
    whole = model(X)
    for name, cost in zip(ranking.layers, ranking.layer_costs, strict=True):
        output = remove_layers(model, [name], X)(X)
        expected = float((output - whole).detach().square().sum() / whole.detach().square().sum())
        assert cost == pytest.approx(expected, rel=1e-4)
    assert ranking.layers[0] in str(ranking)
    with pytest.raises(ValueError, match="greedy must be False"):
        proprelu.sensitivity(model, X, layers=True, greedy=True, progress=False)
