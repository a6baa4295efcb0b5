import pytest
import torch
from proprelu.models import mgnet
from torch import nn
from torch.nn import functional as F


def without_norms(model):
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return model


def by_definition(model, x):
    """The algorithm of the paper, from u = 0."""
    f = F.relu(model.norm(model.conv(x)))
    u = torch.zeros_like(f)
    for number, level in enumerate(model.levels):
        a, s = level.a[0], level.s[0]
        if number:
            down = model.restrictions[number - 1]
            fine = model.levels[number - 1].a[0]
            coarse = F.relu(down.norm_p(down.p(u)))
            f = F.relu(down.norm_r(down.r(f - fine(u)))) + a(coarse)
            u = coarse
        for before, after in zip(level.residual_norms, level.smooth_norms, strict=True):
            u = u + F.relu(after(s(F.relu(before(f - a(u))))))
    return model.fc(u.mean((2, 3)))


def test_it_is_the_algorithm():
    torch.manual_seed(0)
    model = mgnet(channels=4, nu=(2, 1, 3), in_channels=2, num_classes=5).double().eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(3, 2, 13, 10).double()
    torch.testing.assert_close(model(x), by_definition(model, x))


def test_the_residual_is_that_of_a_pre_activation_resnet():
    """Checks r' = r - A S relu(r) with shared A."""
    torch.manual_seed(0)
    level = without_norms(mgnet(channels=4, nu=(3,)).double()).levels[0]
    level.smooth_relus = nn.ModuleList(nn.Identity() for _ in range(3))
    level.residual_relus = nn.ModuleList(
        nn.ReLU() for _ in range(3)
    )  # not in place, because f is used again
    f = torch.randn(2, 4, 8, 8).double()
    a, s = level.a[0], level.s[0]
    r = f
    for _ in range(3):
        r = r - a(s(F.relu(r)))
    torch.testing.assert_close(f - a(level(None, f)), r)


@pytest.mark.parametrize("shared", [True, False])
def test_parameters_are_the_formula(shared):
    c, nu = 8, (2, 3, 1)
    model = mgnet(channels=c, nu=nu, shared=shared, num_classes=10)
    pairs = 2 * len(nu) if shared else 2 * sum(nu) - 1  # the first residual is f
    convs = 9 * c * c * (pairs + 2 * (len(nu) - 1)) + 9 * 3 * c
    norms = 2 * c * (1 + 2 * sum(nu) + 2 * (len(nu) - 1))
    assert sum(p.numel() for p in model.parameters()) == convs + norms + 11 * c - c + 10
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("bf16", [False, True])
def test_it_trains_as_one_program(bf16, trains_alike):
    torch.manual_seed(0)
    trains_alike(mgnet("2:1", channels=8, nu=(2, 1), num_classes=4), bf16=bf16)


def test_no_level_is_an_error():
    for nu in ((), (2, 0)):
        with pytest.raises(ValueError, match="nu must hold at least 1 for each level, got"):
            mgnet(nu=nu)
