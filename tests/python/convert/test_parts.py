"""Ratios by part of the model, groups, skipped sites, shortcuts."""

import pytest
import torch
from proprelu import convert, plan_for, ratio_of, revert
from torch import nn
from torchvision.models import resnet18, resnet50, vgg11_bn


def chain(convs):
    layers = []
    for _ in range(convs):
        layers += [nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def kept(plan, prefix):
    """The number of kept sites inside a module, and of all of its sites."""
    sites = [site for site in plan.sites if site.name.startswith(prefix)]
    return sum(site.keep for site in sites), len(sites)


def bits(plan):
    return "".join("1" if keep else "0" for keep in plan.keep)


def test_each_part_has_its_ratio():
    plan = plan_for(resnet18(), {"layer1": "1:1", "layer[2-3].*": "2:1", "default": "4:1"})
    assert kept(plan, "layer1") == (4, 4)
    assert kept(plan, "layer2") == (2, 4)
    assert kept(plan, "layer3") == (2, 4)
    assert kept(plan, "layer4") == (1, 4)
    assert plan.asked == "layer1 1:1, layer[2-3].* 2:1, default 4:1"
    assert plan.title.startswith("ResNet, requested layer1 1:1, layer[2-3].* 2:1, default 4:1")


def test_the_first_key_that_matches_holds():
    plan = plan_for(chain(4), {"[13]": "2:1", "*": "1:1"})
    assert bits(plan) == "0111"


def test_a_pattern_may_match_the_convolution():
    plan = plan_for(resnet18(), {"conv1": "3:1", "default": "1:1"})
    assert plan.sites[0].name == "relu"
    assert [site.keep for site in plan.sites] == [False] + [True] * 16


def test_sites_without_a_matching_key_stay_unchanged():
    model = convert(chain(6), "2:1")
    plan = plan_for(model, {"1": "1:1"})
    assert bits(plan) == "110101"
    assert plan.sites[2].reason == "the ratio names another part: stays as it is"
    assert plan.sites[2].group == -1


def test_conversions_compose():
    model = resnet18()
    twice = convert(convert(model, {"layer1": "2:1"}), {"layer4": "4:1"})
    assert bits(plan_for(twice, {"conv1": "1:1"})) == "1" + "0101" + "1111" * 2 + "0001"
    assert str(ratio_of(twice)) == "17:12"


def test_revert_restores_all():
    model = resnet18(num_classes=4).eval()
    x = torch.randn(2, 3, 32, 32)
    twice = convert(convert(model, "2:1"), "4:1", "first", inplace=True)
    back = revert(twice)
    assert torch.equal(back(x), model(x))
    assert str(ratio_of(back)) == "17:17"
    assert str(ratio_of(twice)) == "17:4"
    assert revert(twice, inplace=True).conv1 is twice.conv1


@pytest.mark.parametrize("skip", [["1", "5"], ("[15]",)])
def test_skipped_sites_stay_and_do_not_count(skip):
    plan = plan_for(chain(5), "2:1", skip=skip)
    assert (
        bits(plan) == "1011" + "1"
    )  # in groups of two the first is dropped, in a group of one none
    assert plan.sites[0].reason == "skipped: stays as it is"
    assert plan_for(chain(2), "2:1", skip="1").keep == [True, True]


def test_skipped_sites_stay_dropped():
    model = convert(chain(4), "4:1")
    assert bits(plan_for(model, "1:1", skip=["1"])) == "0111"


def test_groups_stay_inside_a_block():
    plan = plan_for(resnet50(), "3:1", group="block")
    for block in ("layer1.0", "layer2.3", "layer4.2"):
        assert [site.keep for site in plan.sites if site.block == block] == [False, False, True]
    assert plan.sites[0].keep is False  # the share of a single site at 3:1 rounds to 0
    assert plan_for(resnet50(), "2:1", group="block").sites[0].keep


def test_groups_stay_inside_a_stage():
    plan = plan_for(resnet18(), "3:1", group="stage")
    groups = {
        name: {s.group for s in plan.sites if s.name.startswith(name)}
        for name in ("relu", "layer1", "layer2", "layer3", "layer4")
    }
    assert len(set.union(*groups.values())) == sum(map(len, groups.values()))
    # The groups of 3 and 1 in each stage of four keep one and none.
    assert [kept(plan, f"layer{i}")[0] for i in (1, 2, 3, 4)] == [1, 1, 1, 1]


def test_stages_of_a_plain_network_end_at_its_poolings():
    plan = plan_for(vgg11_bn(), "2:1", group="stage")
    assert [site.group for site in plan.sites] == [0, 1, 2, 2, 3, 3, 4, 4]


def test_block_last_in_stages_without_blocks():
    plan = plan_for(resnet18(), "2:1", "block_last", group="stage")
    assert kept(plan, "layer3") == (2, 4)


def test_shortcuts_count_where_asked():
    model = resnet18()
    assert str(ratio_of(model)) == "17:17"
    assert str(ratio_of(model, count_shortcuts=True)) == "20:17"
    assert plan_for(model, "2:1").kept == 9
    plan = plan_for(model, "2:1", "front", count_shortcuts=True)
    assert (plan.kept, plan.convs) == (10, 20)
    assert str(ratio_of(convert(model, "2:1", count_shortcuts=True), count_shortcuts=True)) in (
        "20:10",
        "20:11",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": {}}, "ratio must name a part, got {}"),
        ({"ratio": {"layer9": "2:1"}}, "ratio must .*got 'layer9'.* did you mean 'layer"),
        ({"ratio": {"layr1": "2:1"}}, "did you mean 'layer1'"),
        ({"ratio": {"layer1": "1:2"}}, "1:2"),
        ({"ratio": "2:1", "skip": ["fc"]}, "skip must name sites of the model, got 'fc'"),
        ({"ratio": "2:1", "group": "layer"}, 'group must be "network", "stage" or "block"'),
        ({"ratio": "2:1", "activations": ("tanh",)}, "activations must be among relu, relu6"),
        ({"ratio": "2:1", "placement": "sensitivity"}, "needs calibration, got none; pass a batch"),
        ({"ratio": "2:1", "placement": "learned"}, "the result of learn_placement\\(\\)"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        convert(resnet18(), **arguments)
    assert "\n" not in str(caught.value)


def test_a_plan_does_not_measure():
    with pytest.raises(ValueError, match=r"must be measured first.* result of sensitivity\(\)"):
        plan_for(resnet18(), "2:1", "sensitivity")
