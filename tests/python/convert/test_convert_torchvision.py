import copy
import pickle
import warnings

import pytest
import torch
import torchvision
from proprelu import convert, plan_for, ratio_of

# For each network the convolutions that count, and the sites.
COUNTS = {
    "resnet18": (17, 17),
    "vgg11_bn": (8, 8),
    "densenet121": (120, 121),
    "mobilenet_v2": (52, 35),
    "resnet50": (49, 49),
    "googlenet": (57, 57),
    "squeezenet1_1": (26, 26),
}


def build(name):
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(torchvision.models, name)(weights=None, **options).eval()
    if name == "vgg11_bn":  # its linear layers are 500 MB
        model.classifier = torch.nn.Linear(512 * 49, 10)
    return model


@pytest.mark.parametrize("name", COUNTS)
def test_conversion(name):
    model, x = build(name), torch.randn(1, 3, 40, 40)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    convs, sites = COUNTS[name]
    assert ratio_of(model) == (convs, sites)
    assert torch.equal(convert(model, "1:1")(x), model(x))
    for ratio in ("3:2", "2:1", "3:1"):
        plan = plan_for(model, ratio)
        n, m = plan.ratio.convs, plan.ratio.relus
        kept = sites // n * m + round((sites % n) * m / n + 1e-9)
        assert (plan.kept, plan.achieved) == (kept, f"{sites}:{kept}")
        converted = convert(model, ratio)
        assert ratio_of(converted) == (convs, kept)
        assert list(converted.state_dict()) == list(state)
        assert all(torch.equal(v, state[k]) for k, v in converted.state_dict().items())
        y = converted(x)
        assert y.isfinite().all()
        assert torch.equal(copy.deepcopy(converted)(x), y)
    assert torch.equal(pickle.loads(pickle.dumps(converted))(x), y)
    assert torch.equal(convert(converted, "1:1")(x), model(x))


def test_uses_of_shared_relus_are_distinct_sites():
    plan = plan_for(build("resnet18"), "2:1", "block_last")
    dropped = [site.name for site in plan.sites if not site.keep]
    blocks = [f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)]
    assert dropped == [f"{block}.relu:2" for block in blocks]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_frozen_norms_change_no_count(name):
    frozen = torchvision.ops.FrozenBatchNorm2d
    model = getattr(torchvision.models, name)(weights=None, norm_layer=frozen)
    assert ratio_of(model) == COUNTS[name]
