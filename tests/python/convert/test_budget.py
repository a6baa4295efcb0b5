"""Plans within a budget: against all choices, each of them converted and merged."""

import importlib
import itertools
import json
from dataclasses import replace

import proprelu
import pytest
import torch
from proprelu import Plan, Ranking
from proprelu.convert import remove_layers
from torch import nn


class Block(nn.Module):
    """An inverted residual."""

    def __init__(self, channels, hidden, stride=1, out=None):
        super().__init__()
        out = out or channels
        self.adds = stride == 1 and out == channels
        self.conv = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    layers += [Block(8, 48), Block(8, 48, stride=2, out=12), nn.Conv2d(12, 16, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()


X = torch.randn(1, 3, 16, 16)


def ranked(model, seed=0):
    names = tuple(site.name for site in proprelu.plan_for(model, "1:1").sites)
    costs = torch.rand(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    return Ranking("sensitivity", names, tuple(costs), "loss")


def macs(model, keep):
    """The multiplications after a conversion and a merge."""
    converted = proprelu.convert(model, "1:1", keep, verify=False)
    return proprelu.merge(converted, X, cost="macs", verify=False).report.macs_after


def planned(model, ranking, budget, ratio="6:1", **options):
    return proprelu.plan_for(model, ratio, ranking, X, objective="macs", budget=budget, **options)


@pytest.fixture(scope="module")
def choices():
    """Each mask with the multiplications that it comes to, relative to those of the original."""
    model = network()
    masks = list(itertools.product([True, False], repeat=6))
    whole = macs(model, [True] * 6)
    return {mask: macs(model, list(mask)) / whole for mask in masks}


@pytest.mark.parametrize("budget", [1.0, 0.9, 0.75, 0.6])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_other_choice_within_the_budget_costs_less(choices, budget, seed):
    model = network()
    ranking = ranked(model, seed)

    def loss(mask):
        return sum(cost for cost, keep in zip(ranking.costs, mask, strict=True) if not keep)

    within = [mask for mask, cost in choices.items() if cost <= budget * 1.0005]
    if not within:
        with pytest.raises(ValueError, match="budget must be at least"):
            planned(model, ranking, budget)
        return
    plan = planned(model, ranking, budget)
    assert choices[tuple(plan.keep)] <= budget * 1.001
    assert loss(plan.keep) == pytest.approx(min(map(loss, within)))
    assert plan.expected == pytest.approx(choices[tuple(plan.keep)], rel=0.01)


class Residual(nn.Module):
    """A residual block of two convolutions, of which one alone can be removed."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


def removable_network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), Residual(8), Block(8, 48)]
    return nn.Sequential(*layers, nn.Conv2d(8, 16, 1)).eval()


def ranked_with_layers(model, seed):
    ranking = proprelu.sensitivity(model, X, layers=True, progress=False)
    generator = torch.Generator().manual_seed(seed)
    return replace(
        ranking,
        costs=tuple(torch.rand(len(ranking.costs), generator=generator).tolist()),
        layer_costs=tuple(torch.rand(len(ranking.layers), generator=generator).tolist()),
    )


def choices_with_layers(model, names):
    """All masks with all sets of layers that can go together, and their multiplications."""
    count = len(proprelu.plan_for(model, "1:1").sites)
    found = {}
    for size in range(len(names) + 1):
        for removed in itertools.combinations(names, size):
            inside = any(a.startswith(f"{b}.") for a in removed for b in removed)
            if inside or {"2.conv1", "2.conv2"} <= {*removed}:
                continue
            for keep in itertools.product([True, False], repeat=count):
                converted = proprelu.convert(model, "1:1", list(keep), verify=False)
                smaller = remove_layers(converted, removed, X, inplace=True)
                report = proprelu.merge(smaller, X, cost="macs", verify=False).report
                found[keep, removed] = report.macs_after
    whole = found[(True,) * count, ()]
    return {choice: macs / whole for choice, macs in found.items()}


def test_no_other_choice_with_layers_costs_less():
    model = removable_network()
    choices = choices_with_layers(model, ranked_with_layers(model, 0).layers)
    for seed, budget in itertools.product(range(4), [0.95, 0.8, 0.6, 0.4, 0.2]):
        ranking = ranked_with_layers(model, seed)
        costs = dict(zip(ranking.layers, ranking.layer_costs, strict=True))

        def loss(keep, removed, ranking=ranking, costs=costs):
            dropped = [cost for cost, kept in zip(ranking.costs, keep, strict=True) if not kept]
            return sum(dropped) + sum(costs[name] for name in removed)

        within = [choice for choice, cost in choices.items() if cost <= budget * 1.0005]
        plan = planned(model, ranking, budget, ratio="5:1")
        # Sites in a removed branch have no effect, so that dropping them costs nothing.
        idle = [site.reason.startswith("has no effect") for site in plan.sites]
        keep = tuple(site.keep or free for site, free in zip(plan.sites, idle, strict=True))
        assert choices[keep, tuple(plan.removed)] <= budget * 1.001
        assert loss(keep, plan.removed) == pytest.approx(min(loss(*each) for each in within))
        expected = choices[keep, tuple(plan.removed)]
        assert plan.expected == pytest.approx(expected, rel=0.01)


def test_a_plan_with_layers_is_shown_and_stored():
    model = removable_network()
    plan = planned(model, ranked_with_layers(model, 0), 0.5, ratio="5:1")
    assert plan.removed
    assert f"{plan.removed_convolutions} convolution" in plan.title
    assert "layer removed" in str(plan)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_layers_of_another_model_are_refused():
    ranking = ranked_with_layers(removable_network(), 0)
    names = ("other", *ranking.layers[1:])
    with pytest.raises(ValueError, match="must cover the model's layers"):
        planned(removable_network(), replace(ranking, layers=names), 0.5)


def test_the_least_budget_is_said_and_can_be_met(choices):
    model = network()
    ranking = ranked(model)
    with pytest.raises(ValueError, match=r"budget must be at least (0\.\d\d) ") as caught:
        planned(model, ranking, 0.01)
    least = float(str(caught.value).split("at least ")[1][:4])
    assert min(choices.values()) <= least <= min(choices.values()) + 0.011
    assert planned(model, ranking, least).expected <= least


def test_the_ratio_limits_what_is_dropped():
    model = network()
    ranking = ranked(model)
    free = planned(model, ranking, 0.6)
    limited = planned(model, ranking, 0.9, ratio="3:2")
    assert free.dropped > 2 >= limited.dropped
    with pytest.raises(ValueError, match="budget"):
        planned(model, ranking, 0.5, ratio="3:2")


def test_skipped_sites_stay():
    model = network()
    plan = planned(model, ranked(model), 0.85, skip=["3"])
    assert all(site.keep for site in plan.sites if site.name.startswith("3"))
    assert "skipped" in plan.sites[1].reason


def test_the_table_has_the_reasons():
    plan = planned(network(), ranked(network()), 0.75)
    assert f"{plan.expected:.0%} of the original's macs when merged" in str(plan)
    dropped = [site.reason for site in plan.sites if not site.keep]
    assert dropped
    assert all("become one" in reason and "million MACs" in reason for reason in dropped)
    kept = {site.reason.split(";")[0] for site in plan.sites if site.keep}
    assert kept <= {"no merge needs it dropped", "not needed for the budget"}


def test_a_latency_is_measured_and_predicted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = network()
    plan = proprelu.plan_for(model, "6:1", ranked(model), X, objective="latency", budget=1.0)
    assert plan.objective == "latency"
    assert 0 < plan.expected <= 1.01


class Machine:
    """Stands for the clock: an operation takes a time for each multiplication.

    Args:
        whole: the time of the whole network as it is.
        part: the time of the network of a plan, relative to that, from what is planned.
    """

    def __init__(self, whole, part):
        self.pace, self.whole, self.part, self.parts = 1.0, whole, part, []

    def measured(self, operations, form):
        return {each: self.pace * each.multiplications / 1e6 for each in operations}

    def __call__(self, *_):
        return self

    @property
    def milliseconds(self):
        return self.pace * self.whole

    def part_of(self, plan):
        self.parts.append(self.part(plan))
        return self.parts[-1]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = Machine(0.8, lambda plan: plan.expected)
    # By their names, as `proprelu.convert` and `proprelu.merge` are functions, too.
    costs = importlib.import_module("proprelu.merge.costs")
    monkeypatch.setattr(costs, "_measured", made.measured)
    monkeypatch.setattr(importlib.import_module("proprelu.convert.budget"), "Timer", made)
    return made


def test_a_machine_that_has_become_slower_gets_the_same_plan(machine):
    model = network()
    ranking = ranked(model)
    options = {"objective": "latency", "budget": 0.8}
    before = proprelu.plan_for(model, "6:1", ranking, X, **options)
    machine.pace = 3.0
    after = proprelu.plan_for(model, "6:1", ranking, X, **options)
    assert after.keep == before.keep
    assert after.expected == pytest.approx(before.expected)
    assert before.dropped > 0


@pytest.mark.parametrize("power", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("budget", [0.9, 0.75, 0.6])
def test_the_whole_network_meets_the_budget_and_nothing_is_lost_in_vain(
    machine, choices, power, budget
):
    """Networks take another time than their operations."""

    def part(keep):
        return choices[tuple(keep)] ** power

    model = network()
    machine.whole = macs(model, [True] * 6) / 1e6
    machine.part = lambda plan: part(plan.keep)
    ranking = ranked(model)

    def loss(keep):
        return sum(cost for cost, kept in zip(ranking.costs, keep, strict=True) if not kept)

    options = {"objective": "latency", "budget": budget}
    if min(map(part, choices)) > budget:
        with pytest.raises(ValueError, match="budget must be at least"):
            proprelu.plan_for(model, "6:1", ranking, X, **options)
        return
    plan = proprelu.plan_for(model, "6:1", ranking, X, **options)
    assert plan.expected == part(plan.keep) <= budget
    others = [loss(keep) for keep in choices if part(keep) <= budget - 0.02]
    assert loss(plan.keep) <= min(others, default=loss(plan.keep)) + 1e-9
    assert len(machine.parts) <= 8


def test_a_network_that_takes_longer_than_planned_is_refused_with_its_time(machine):
    model = network()
    machine.part = lambda plan: 0.9
    with pytest.raises(
        ValueError, match=r"must be at least 0\.90 for this model .* has 90% of the"
    ):
        proprelu.plan_for(model, "6:1", ranked(model), X, objective="latency", budget=0.85)


def test_the_model_stays_as_it_is():
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    planned(model, ranked(model), 0.75)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "speed", "budget": 0.5}, "objective must be"),
        ({"budget": 0.5}, "objective must be"),
        ({"objective": "macs"}, "budget must be the part"),
        ({"objective": "macs", "budget": 0}, "budget must be the part"),
        ({"objective": "macs", "budget": 1.5}, "budget must be the part"),
        ({"objective": "macs", "budget": "half"}, "budget must be the part"),
        ({"objective": "macs", "budget": 0.5, "example_input": None}, "example_input must be"),
        ({"objective": "macs", "budget": 0.5, "placement": "last"}, "placement must be a ranking"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    model = network()
    arguments = {"placement": ranked(model), "example_input": X, **options}
    with pytest.raises(ValueError, match=message):
        proprelu.plan_for(model, "6:1", **arguments)


def test_a_ranking_of_another_model_is_refused():
    ranking = Ranking("sensitivity", ("a",), (1.0,), "loss")
    with pytest.raises(ValueError, match="must cover the model's sites"):
        planned(network(), ranking, 0.9)


def test_costs_that_are_no_numbers_are_refused_and_infinite_ones_are_not_paid():
    model = network()
    ranking = ranked(model)
    with pytest.raises(ValueError, match="must be a ranking of numbers, got one with NaN"):
        planned(model, replace(ranking, costs=(float("nan"), *ranking.costs[1:])), 0.75)
    costs = [cost if number != 2 else float("inf") for number, cost in enumerate(ranking.costs)]
    dear = replace(ranking, costs=tuple(costs))
    assert not planned(model, ranking, 0.6).keep[2]
    assert planned(model, dear, 0.85).keep[2]
    with pytest.raises(ValueError, match="budget"):
        planned(model, replace(ranking, costs=(float("inf"),) * 6), 0.75)


def test_a_model_that_no_merge_makes_cheaper_is_refused():
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
    ).eval()
    with pytest.raises(ValueError, match="no merge makes this model cheaper"):
        proprelu.plan_for(
            net, "2:1", ranked(net), torch.randn(1, 4, 9, 9), objective="macs", budget=0.5
        )
