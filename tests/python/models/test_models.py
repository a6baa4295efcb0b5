import pytest
import torch
from proprelu import convert, models, plan_for, ratio_of
from torch import nn

SMALL = {
    "resnet20": {},
    "resnet32": {"width": 4},
    "nin": {"width": 12},
    "vgg11": {"width": 4},
    "vgg19": {"width": 4},
    "densenet40": {"growth_rate": 4},
    "mgnet": {"channels": 6},
}
COUNTS = {
    "resnet20": 19,
    "resnet32": 31,
    "nin": 9,
    "vgg11": 8,
    "vgg19": 16,
    "densenet40": 39,
    "mgnet": 28,
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_small_images(name, channels, size):
    options = SMALL[name]
    model = models.create(name, in_channels=channels, num_classes=7, ratio="2:1", **options)
    out = model(torch.randn(2, channels, size, size))
    assert out.shape == (2, 7)
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


PLACEMENTS = ["last", "first", "even", "front", "back", "block_last"]
BUILDS = [
    (name, placement)
    for name in SMALL
    for placement in PLACEMENTS
    if placement != "block_last" or name.startswith(("resnet", "densenet"))  # with blocks
]


@pytest.mark.parametrize("ratio", ["3:2", "2:1"])
@pytest.mark.parametrize(("name", "placement"), BUILDS)
def test_a_built_ratio_is_a_converted_one(name, ratio, placement):
    plain = models.create(name, **SMALL[name]).eval()
    built = models.create(name, ratio=ratio, placement=placement, **SMALL[name]).eval()
    assert list(built.state_dict()) == list(plain.state_dict())
    built.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(built(x), convert(plain, ratio, placement)(x))
    assert torch.equal(convert(built, "1:1")(x), plain(x))
    assert plan_for(built, ratio, placement).keep == plan_for(plain, ratio, placement).keep
    assert ratio_of(built) == (COUNTS[name], sum(plan_for(plain, ratio, placement).keep))


def test_resnet20_is_the_one_of_the_reference():
    model = models.resnet(20)
    kinds = [type(m) for m in model.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.ReLU)) == (21, 19)
    assert sum(p.numel() for p in model.parameters()) == 272_474


def test_a_mask_is_a_placement():
    model = models.resnet(8, "2:1", [True] * 6 + [False])
    assert ratio_of(model) == (7, 6)


def test_all_names_are_built():
    assert {
        "resnet20",
        "resnet32",
        "resnet56",
        "resnet110",
        "nin",
        "vgg11",
        "vgg13",
        "vgg16",
    } < set(models.names())
    with torch.device("meta"):
        assert all(isinstance(models.create(name), nn.Module) for name in models.names())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.create("resnet21"), "model must be one of resnet20, .*got 'resnet21'"),
        (lambda: models.resnet(21), "depth must be 6n \\+ 2, got 21"),
        (lambda: models.densenet(41), "depth must be 6n \\+ 4, got 41"),
        (lambda: models.vgg(12), "depth must be 11, 13, 16 or 19, got 12"),
        (lambda: models.nin("1:2"), "convs >= relus"),
    ],
)
def test_bad_models_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
