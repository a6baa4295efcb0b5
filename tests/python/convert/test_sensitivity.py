import copy

import pytest
import torch
import torch.nn.functional as F
from proprelu import convert, plan_for, sensitivity
from torch import nn
from torchvision.models import resnet18


class Net(nn.Module):
    """In-place and functional activations, a residual add, batch norm and dropout."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.conv3 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(8, 5)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.conv2(x))
        y = self.relu(self.conv3(y) + x)
        return self.fc(F.dropout(y, training=self.training).mean((2, 3)))


def batch(size=6):
    generator = torch.Generator().manual_seed(size)
    images = torch.randn(size, 3, 8, 8, generator=generator)
    return images, torch.randint(5, (size,), generator=generator)


def by_hand(model, mask, data):
    model = copy.deepcopy(model).eval().requires_grad_(False)
    total = count = 0.0
    for images, labels in data:
        lost = convert(model, "1:1", mask)(images)
        total += len(images) * float(F.cross_entropy(lost, labels))
        total -= len(images) * float(F.cross_entropy(model(images), labels))
        count += len(images)
    return total / count


@pytest.mark.parametrize("training", [True, False])
def test_costs_are_those_of_each_conversion(training):
    torch.manual_seed(0)
    model, data = Net().train(training), [batch(6), batch(3)]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ranking = sensitivity(model, data, progress=False)
    assert ranking.sites == ("relu:1", "relu:2", "relu:3")
    for i, cost in enumerate(ranking.costs):
        mask = [j != i for j in range(3)]
        assert cost == pytest.approx(by_hand(model, mask, data), rel=1e-3, abs=1e-6)
    assert model.training is training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_without_labels_the_output_is_measured():
    torch.manual_seed(0)
    model = Net().eval()
    images, _ = batch()
    ranking = sensitivity(model, images, progress=False)
    with torch.no_grad():
        lost, whole = convert(model, "1:1", [True, True, False])(images), model(images)
    expected = (lost - whole).square().sum() / whole.square().sum()
    assert ranking.costs[2] == pytest.approx(float(expected), rel=1e-4)


def test_the_cheapest_are_dropped():
    torch.manual_seed(0)
    model = Net()
    ranking = sensitivity(model, batch(), progress=False)
    cheapest, middle, _ = ranking.order()
    assert plan_for(model, "3:1", ranking).dropped == 2
    assert plan_for(model, "3:2", ranking).keep[cheapest] is False
    assert not any(plan_for(model, "3:1", ranking).keep[i] for i in (cheapest, middle))
    converted = convert(model, "3:2", "sensitivity", calibration=batch())
    plan = plan_for(model, "3:2", ranking)
    assert plan_for(converted, "1:1", skip="*").keep == plan.keep
    assert plan.placement == "sensitivity"


def test_greedy_measures_again_without_the_cheapest():
    torch.manual_seed(3)
    model, data = Net(), [batch(8)]
    ranking = sensitivity(model, data, greedy=True, progress=False)
    first, second, _ = ranking.order()
    assert first == sensitivity(model, data, progress=False).order()[0]
    others = [i for i in range(3) if i != first]
    costs = {i: by_hand(model, [j not in (first, i) for j in range(3)], data) for i in others}
    assert second == min(others, key=costs.get)


def test_dropped_sites_cost_nothing():
    torch.manual_seed(0)
    model = convert(Net(), "1:1", [False, True, True])
    ranking = sensitivity(model, batch(), progress=False)
    assert ranking.costs[0] == 0
    assert ranking.costs[1] != 0


def test_a_deep_network_and_its_own_loss():
    model = resnet18(num_classes=5)
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    ranking = sensitivity(model, (images, labels), F.multi_margin_loss, progress=False)
    assert len(ranking.costs) == 17
    assert all(torch.isfinite(torch.tensor(ranking.costs)))


def test_plot_and_table(tmp_path):
    ranking = sensitivity(Net(), batch(), progress=False)
    ranking.plot(tmp_path / "ranking.png")
    assert (tmp_path / "ranking.png").stat().st_size > 5000
    lines = str(ranking).splitlines()
    assert lines[0] == "sensitivity: cost of dropping it, the cheapest first"
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "data must hold at least one batch, got none"),
        (3, "data must be a tensor, a pair .images, labels. or a DataLoader, got int"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "float images, .* got torch.uint8"),
        ([["a", "b"]], "float images, .* got str"),
    ],
)
def test_bad_data(data, message):
    with pytest.raises(ValueError, match=message):
        sensitivity(Net(), data, progress=False)


def test_a_ranking_of_another_model():
    ranking = sensitivity(Net(), batch(), progress=False)
    with pytest.raises(ValueError, match="sensitivity ranking must cover the model"):
        plan_for(resnet18(), "2:1", ranking)


def test_a_site_without_which_values_explode_costs_infinity(tmp_path):
    class Root(nn.Module):
        """The square root of what a ReLU has made positive."""

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 1)

        def forward(self, x):
            return F.relu(self.second(F.relu(self.first(x)).sqrt())).mean((2, 3))

    for data in (batch(), batch()[0]):
        ranking = sensitivity(Root(), data, progress=False)
        assert ranking.costs[0] == float("inf") > ranking.costs[1]
        assert ranking.order() == [1, 0]
        ranking.plot(tmp_path / "ranking.png")


def test_a_model_without_finite_outputs_is_refused():
    model = Net()
    nn.init.constant_(model.conv1.weight, torch.nan)
    for data in (batch(), batch()[0]):
        with pytest.raises(ValueError, match="model must have finite outputs and losses"):
            sensitivity(model, data, progress=False)
