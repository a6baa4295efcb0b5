import copy

import pytest
import torch
from proprelu import merge
from proprelu.convert import decompose, factorize, tie_blocks
from torch import nn
from torch.nn.utils import prune


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 7, padding=3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 5, padding="same", bias=False, padding_mode="circular"),
        nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 5, stride=2, padding=2),
    ).double()  # fmt: skip


@pytest.mark.parametrize("variant", ["full", "lean"])
@pytest.mark.parametrize("relu", [True, False])
def test_a_decomposed_network_computes_the_same(relu, variant):
    model, x = net(), torch.randn(2, 3, 11, 12, dtype=torch.double)
    deeper = decompose(model, relu=relu, variant=variant)
    torch.testing.assert_close(deeper(x), model(x))
    assert [len(list(m.children())) for m in deeper] == [
        5 if relu else 3,
        0,
        0,
        3 if relu else 2,
        0,
        0,
    ]
    assert len(model[0].weight) == 4
    assert all(p.requires_grad and p.dtype == torch.double for p in deeper.parameters())


def test_only_large_kernels_are_replaced_and_some_are_skipped():
    model = net()
    assert isinstance(decompose(model, 7)[3], nn.Conv2d)
    assert isinstance(decompose(model, skip="0")[0], nn.Conv2d)
    own = copy.deepcopy(model).eval()
    own[0].requires_grad_(False)
    assert decompose(own, 7, inplace=True) is own
    assert not own[0].training
    assert not any(p.requires_grad for p in own[0].parameters())


def test_merging_is_the_inverse():
    model = nn.Sequential(nn.Conv2d(2, 3, 7, padding=3, bias=False)).double().eval()
    x = torch.randn(1, 2, 40, 40, dtype=torch.double)
    merged = merge(decompose(model), x, cost="macs")
    torch.testing.assert_close(merged(x), model(x))
    assert merged.report.macs_after < merged.report.macs_before


def test_models_and_settings_without_a_result_are_refused():
    with pytest.raises(ValueError, match="kernel_size must be a whole number >= 5, got 3"):
        decompose(net(), 3)
    with pytest.raises(ValueError, match=r"kernel of 9 or more.*got Sequential with none"):
        decompose(net(), 9)


def test_a_convolution_that_is_used_twice_stays_one():
    conv = nn.Conv2d(3, 3, 5, padding=2)
    model = nn.Sequential(conv, nn.ReLU(), conv)
    deeper = decompose(model)
    assert deeper[0] is deeper[2] is not conv
    x = torch.randn(1, 3, 9, 9)
    torch.testing.assert_close(deeper(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_convolution_with_a_hook_stays_and_a_pruned_one_does_not():
    model = nn.Sequential(nn.Conv2d(3, 3, 5, padding=2), nn.Conv2d(3, 3, 5, padding=2))
    model[0].register_forward_hook(lambda module, args, y: 2 * y)
    prune.l1_unstructured(model[1], "weight", amount=0.5)
    deeper = decompose(model)
    assert [type(layer).__name__ for layer in deeper] == ["Conv2d", "DecomposedConv2d"]
    x = torch.randn(1, 3, 9, 9)
    torch.testing.assert_close(deeper(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [decompose, factorize, tie_blocks], ids=lambda f: f.__name__)
def test_a_model_without_values_is_refused(change):
    model = nn.Sequential(nn.Conv2d(4, 4, 5, padding=2, device="meta"))
    with pytest.raises(ValueError, match="must have values, got Sequential on the meta device"):
        change(model)
