import pytest
import torch
import torch.nn.functional as F
from proprelu import convert
from proprelu.graph import find_sites, trace
from torch import nn


def sites_of(model):
    return find_sites(trace(model))


class Calls(nn.Module):
    """A convolution, then the given modules."""

    def __init__(self, activation):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.activation = activation

    def forward(self, x):
        return self.activation(self.bn(self.conv(x)))


@pytest.mark.parametrize(
    ("activation", "kind", "inplace"),
    [
        (nn.ReLU(), "relu", False),
        (nn.ReLU(inplace=True), "relu", True),
        (nn.ReLU6(), "relu6", False),
        (nn.Hardtanh(0, 6, inplace=True), "relu6", True),
        (F.relu, "relu", False),
        (lambda x: F.relu(x, True), "relu", True),
        (lambda x: F.relu(x, inplace=True), "relu", True),
        (F.relu_, "relu", True),
        (torch.relu, "relu", False),
        (torch.relu_, "relu", True),
        (lambda x: x.relu(), "relu", False),
        (lambda x: x.relu_(), "relu", True),
        (F.relu6, "relu6", False),
        (lambda x: F.hardtanh(x, 0.0, 6.0), "relu6", False),
        (lambda x: F.hardtanh(x, min_val=0, max_val=6, inplace=True), "relu6", True),
    ],
)
def test_every_form_is_a_site(activation, kind, inplace):
    (site,) = sites_of(Calls(activation)).sites
    assert (site.activation.kind, site.activation.inplace) == (kind, inplace)
    assert (site.conv, site.block, site.activation.dropped) == ("conv", None, False)


@pytest.mark.parametrize(
    "activation", [nn.Hardtanh(), F.hardtanh, F.gelu, torch.sigmoid, nn.LeakyReLU()]
)
def test_other_activations_are_not_sites(activation):
    assert sites_of(Calls(activation)).sites == ()


@pytest.mark.parametrize(
    "between",
    [
        nn.GroupNorm(2, 4),
        nn.MaxPool2d(2),
        nn.Dropout2d(),
        nn.Flatten(),
        lambda x: x * 2 + 1,
        lambda x: torch.cat([x, x], 1),
    ],
)
def test_layers_between_convolution_and_activation(between):
    if isinstance(between, nn.Module):
        activation = nn.Sequential(between, nn.ReLU())
    else:
        activation = lambda x: F.relu(between(x))  # noqa: E731
    (site,) = sites_of(Calls(activation)).sites
    assert site.conv == "conv"


def test_one_module_called_twice_is_two_sites():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.a(self.relu(self.b(x))))

    found = sites_of(Twice()).sites
    assert [(site.name, site.conv) for site in found] == [("relu:1", "b"), ("relu:2", "a")]


def test_an_activation_after_a_linear_layer_is_no_site():
    model = nn.Sequential(
        nn.ReLU(), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4), nn.ReLU()
    )
    found = sites_of(model)
    assert [site.name for site in found.sites] == ["2"]
    assert found.others == (("0", "no convolution before it"), ("5", "after a linear layer"))


class Bottleneck(nn.Module):
    def __init__(self, width, project):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, 2, 1), nn.Conv2d(2, 2, 3, padding=1)
        self.conv3 = nn.Conv2d(2, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.project = nn.Sequential(nn.AvgPool2d(1), nn.Conv2d(width, 4, 1), nn.BatchNorm2d(4))
        self.use_projection = project

    def forward(self, x):
        out = self.bn(self.conv3(self.conv2(self.conv1(x).relu()).relu()))
        out += self.project(x) if self.use_projection else x
        return out.relu()


def test_a_shortcut_is_neither_counted_nor_a_source():
    model = nn.Sequential(Bottleneck(3, True), Bottleneck(4, False))
    found = sites_of(model)
    assert found.convs == tuple(f"{i}.conv{j}" for i in (0, 1) for j in (1, 2, 3))
    assert [site.conv for site in found.sites] == list(found.convs)
    assert [site.block for site in found.sites] == ["0"] * 3 + ["1"] * 3
    assert [site.name for site in found.sites[:2]] == ["0.relu:1", "0.relu:2"]


def test_a_gate_is_neither_counted_nor_a_site():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.down, self.up = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

        def forward(self, x):
            x = self.conv(x)
            gate = torch.sigmoid(self.up(F.relu(self.down(self.pool(x)))))
            return F.relu(x * gate)

    found = sites_of(Gated())
    assert found.convs == ("conv",)
    assert [(site.name, site.conv) for site in found.sites] == [("relu:2", "conv")]
    assert found.others == (("relu:1", "in a squeeze-and-excitation gate"),)


def test_pre_activations_belong_to_what_comes_before():
    class PreActivated(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
            self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
            self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            return x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))

    found = sites_of(nn.Sequential(nn.Conv2d(3, 4, 1), PreActivated(), PreActivated(), nn.ReLU()))
    expected = ["0", "1.conv1", "1.conv2", "2.conv1", "2.conv2"]
    assert [site.conv for site in found.sites] == expected
    assert [site.block for site in found.sites] == ["1", "1", "2", "2", None]


class NormAct(nn.BatchNorm2d):
    """A batch norm with its own activation, like timm's."""

    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


def test_the_activation_inside_a_norm_is_a_site():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), NormAct(4), nn.Conv2d(4, 4, 1), NormAct(4))
    found = sites_of(model)
    assert [(s.name, s.conv) for s in found.sites] == [("1.act", "0"), ("3.act", "2")]
    x, result = torch.randn(2, 3, 5, 5), convert(model, "2:1")
    assert torch.equal(convert(model, "1:1")(x), model(x))
    expected = F.batch_norm(model[0](x), None, None, training=True)
    assert torch.allclose(result(x), model[3](model[2](expected)), atol=1e-6)
    assert list(result.state_dict()) == list(model.state_dict())


def test_functional_convolutions_count():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

        def forward(self, x):
            return F.relu(F.conv2d(x, self.weight))

    found = sites_of(Functional())
    assert found.convs == ("conv2d",)
    assert found.sites[0].conv == "conv2d"
