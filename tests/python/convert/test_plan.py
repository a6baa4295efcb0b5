import io

import pytest
import torch
from proprelu import Ratio, plan_for
from rich.console import Console
from torch import nn


def chain(convs):
    layers = []
    for _ in range(convs):
        layers += [nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(48, 4), nn.ReLU())


@pytest.mark.parametrize("ratio", ["2:1", (2, 1), Ratio(2, 1)])
def test_a_plan_lists_each_site(ratio):
    plan = plan_for(chain(5), ratio)
    assert plan.keep == [False, True, False, True, True]
    assert (plan.kept, plan.dropped, plan.achieved) == (3, 2, "5:3")
    assert (plan.ratio, plan.placement, plan.convs) == (Ratio(2, 1), "last", 5)
    site = plan.sites[3]
    assert (site.name, site.conv, site.block, site.group) == ("11", "9", None, 1)
    assert site.reason == "2 of 2 in its group: the last is kept"
    assert plan.others == (("17", "after a linear layer"),)


@pytest.mark.parametrize("convs", [1, 2, 7, 12])
@pytest.mark.parametrize("ratio", ["1:1", "3:2", "2:1", "3:1", "5:3"])
@pytest.mark.parametrize("placement", ["last", "first", "even", "front", "back"])
def test_every_length_is_within_one_site(convs, ratio, placement):
    plan = plan_for(chain(convs), ratio, placement)
    n, m = plan.ratio.convs, plan.ratio.relus
    assert len(plan.keep) == convs
    assert abs(plan.kept - convs * m / n) < 1
    assert plan.achieved == f"{convs}:{plan.kept}"
    if placement in ("last", "first", "even"):
        for start in range(0, convs - n + 1, n):
            assert sum(plan.keep[start : start + n]) == m


@pytest.mark.parametrize(
    "mask", [[True, False, True], (1, 0, 1), torch.tensor([True, False, True])]
)
def test_a_mask_decides_alone(mask):
    plan = plan_for(chain(3), "2:1", mask)
    assert plan.keep == [True, False, True]
    assert (plan.placement, plan.achieved) == ("mask", "3:2")


def test_a_plan_prints_everywhere():
    plan = plan_for(chain(3), "2:1")
    text = str(plan)
    assert text.startswith(
        "Sequential, requested 2:1, placement last: 2 of 3 ReLUs kept, ratio 3:2\n"
    )
    assert len(text.splitlines()) == 2 + 3 + 1
    out = io.StringIO()
    Console(file=out, width=200).print(plan)
    html = plan._repr_html_()
    for shown in (text, out.getvalue(), html):
        for cell in ("dropped", "kept", "no site", "after a linear layer", "ratio 3:2"):
            assert cell in shown
    assert html.count("</tr>") == 1 + 3 + 1


def test_html_is_escaped():
    model = type("A<b>", (nn.Sequential,), {})(nn.Conv2d(1, 1, 1), nn.ReLU())
    assert "A&lt;b&gt;" in plan_for(model, "1:1")._repr_html_()


def test_a_plan_does_not_change_the_model():
    model = chain(3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    plan_for(model, "2:1")
    assert type(model) is nn.Sequential
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
