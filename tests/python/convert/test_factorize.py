"""Convolutions become rows of smaller ones, which approximate them."""

import sys

import proprelu
import pytest
import torch
from proprelu.convert import factorize
from torch import nn

METHODS = ["tucker", "cp", "svd"]


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 5, (3, 5), padding=(2, 1), dilation=(2, 1), bias=False),
        nn.Conv2d(5, 5, 3, padding=1, groups=5),
        nn.Conv2d(5, 4, 3, padding="same", padding_mode="circular"),
        nn.Conv2d(4, 4, 1),
    ).double()


X = torch.randn(2, 4, 17, 14, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def error(model, method, macs, x):
    with torch.no_grad():
        return float((factorize(model, method, macs)(x) - model(x)).norm() / model(x).norm())


@pytest.mark.parametrize(("method", "exact"), [("tucker", 1e-8), ("cp", 5e-3), ("svd", 1e-8)])
def test_with_the_full_rank_the_network_computes_the_same(method, exact):
    assert error(net(), method, 1e6, X) < exact


@pytest.mark.parametrize("method", METHODS)
def test_the_error_falls_with_the_multiplications(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1, bias=False)).double()
    x = torch.randn(2, 6, 9, 9, dtype=torch.double)
    errors = [error(model, method, macs, x) for macs in (0.25, 0.6, 1.2)]
    assert 1 > errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("macs", [0.3, 0.7])
def test_no_more_multiplications_than_allowed(method, macs):
    model = net()
    smaller = factorize(model, method, macs)
    rows = [
        name for name in ("0", "2", "4") if isinstance(smaller.get_submodule(name), nn.Sequential)
    ]
    assert rows
    images = {}
    for name in rows:
        for module in smaller.get_submodule(name):
            module.register_forward_hook(
                lambda m, _, y: images.__setitem__(m, y[0].numel() * m.weight[0].numel())
            )
    with torch.no_grad():
        smaller(X)
        for name in rows:
            conv = model.get_submodule(name)
            inside = sum(images[module] for module in smaller.get_submodule(name))
            pixels = model[: int(name) + 1](X)[0].numel()
            # Strides round the sizes of images up.
            assert inside <= 1.2 * macs * pixels * conv.weight[0].numel()
    assert isinstance(smaller[3], nn.Conv2d)
    assert isinstance(smaller[5], nn.Conv2d)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_becomes_one_convolution_again(method):
    model = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1)).double().eval()
    row = factorize(model, method, 0.6)
    x = torch.randn(1, 6, 9, 9, dtype=torch.double)
    merged = proprelu.merge(row, x, cost="macs")
    torch.testing.assert_close(merged(x), row(x))


def test_settings_of_the_model_are_kept():
    model = net().float().eval()
    model[0].requires_grad_(False)
    smaller = factorize(model, "svd", 0.5, skip="4")
    assert smaller is not model
    assert isinstance(model[0], nn.Conv2d)
    assert isinstance(smaller[4], nn.Conv2d)
    assert not any(p.requires_grad for p in smaller[0].parameters())
    assert all(p.requires_grad for p in smaller[2].parameters())
    assert not any(module.training for module in smaller.modules())
    assert factorize(model, "svd", 0.5, inplace=True) is model


def test_networks_without_a_result_are_refused():
    with pytest.raises(ValueError, match="method must be one of tucker, cp, svd, got 'tt'"):
        factorize(net(), "tt")
    with pytest.raises(ValueError, match=r"macs must be a part .*, got 0"):
        factorize(net(), macs=0)
    with pytest.raises(ValueError, match=r"larger than 1x1.*got Sequential with none"):
        factorize(nn.Sequential(nn.Conv2d(3, 3, 1)))
    with pytest.raises(ValueError, match=r"factorized to 0\.001 of"):
        factorize(net(), macs=0.001)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(ImportError, match=r"proprelu\[factorize\]"):
        factorize(net())
