"""What cannot be merged is left alone with a reason, or refused in one line."""

import proprelu
import pytest
import torch
from proprelu.merge import find_removals, hoist_padding
from torch import nn


def x():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def reasons(net, **options):
    merged = proprelu.merge(net.eval(), x(), cost="macs", **options)
    torch.testing.assert_close(merged(x()), net(x()), rtol=1e-4, atol=1e-5)
    return dict(merged.report.left)


def test_a_norm_without_running_statistics():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert reasons(net) == {"1": "it has no running statistics"}


def test_a_norm_in_training_mode():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    net[1].train()
    merged = proprelu.merge(net, x(), cost="macs", verify=False)
    assert dict(merged.report.left) == {"1": "it is in training mode"}


def test_parametrized_weights():
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1))
    assert reasons(nn.Sequential(normed, nn.BatchNorm2d(4)))["0"] == "its weight is parametrized"


def test_other_paddings_and_kinds_of_convolutions():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(4, 4, 2, padding="same"),
        nn.ConvTranspose2d(4, 4, 2),
    )
    assert reasons(net) == {
        "0": "its padding is circular",
        "1": "its padding differs from side to side",
        "2": "a ConvTranspose2d is not merged",
    }


def test_a_subclass_of_a_convolution():
    class Standardized(nn.Conv2d):
        def forward(self, input):
            return super().forward(input) * 2

    net = nn.Sequential(Standardized(3, 4, 1), nn.BatchNorm2d(4))
    proprelu.merge(net.eval(), x(), cost="macs")


def test_a_weight_that_is_used_as_a_function():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, x):
            again = nn.functional.conv2d(x, self.conv.weight, padding=1)
            return self.norm(self.conv(x)) + again

    assert reasons(Functional()) == {}


def test_a_layer_with_a_hook():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    net[0].register_forward_hook(lambda module, args, output: output * 2)
    assert reasons(net)["0"] == "it has hooks"


def test_quantized_layers():
    conv = torch.ao.nn.quantized.Conv2d(3, 4, 1)
    net = nn.Sequential(torch.ao.nn.quantized.Quantize(0.1, 0, torch.quint8), conv)
    net.append(torch.ao.nn.quantized.DeQuantize())
    merged = proprelu.merge(net.eval(), x(), cost="macs", verify=False)
    assert torch.equal(merged(x()), net(x()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
def test_a_part_that_is_a_script():
    script = torch.jit.trace(small().eval(), x())
    net = nn.Sequential(script, nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    merged = proprelu.merge(net.eval(), x(), cost="macs")
    assert len(list(merged.children())) == 2 + 1
    torch.testing.assert_close(merged(x()), net(x()))


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"evaluation mode, got Sequential .*call model\.eval\(\)"):
        proprelu.merge(small(), x())


def test_hooks_that_a_graph_would_not_run_are_refused():
    net = nn.Sequential(small()).eval()
    net[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="no forward hooks, got one on 0; remove it"):
        proprelu.merge(net, x())


def test_wrapped_models_are_refused():
    words = r"must not be wrapped, got one in DataParallel; merge the model inside \(model.module\)"
    with pytest.raises(ValueError, match=words):
        proprelu.merge(nn.DataParallel(small().eval()), x())
    compiled = nn.Sequential(torch.compile(small(), backend="eager"))
    with pytest.raises(ValueError, match=r"got 0 in torch\.compile; merge the model first"):
        proprelu.merge(compiled.eval(), x())
    with pytest.raises(TypeError, match="got str"):
        proprelu.merge("resnet18", x())


def test_a_model_that_is_being_annealed_is_refused():
    net = proprelu.convert(small(), "1:1", [False], anneal=proprelu.Anneal(epochs=2)).eval()
    with pytest.raises(ValueError, match="still being annealed"):
        proprelu.merge(net, x())
    proprelu.anneal_step(net)
    proprelu.anneal_step(net)
    assert len(list(proprelu.merge(net, x(), cost="macs").children())) == 1


@pytest.mark.parametrize("call", [proprelu.merge, hoist_padding, find_removals])
def test_an_example_that_shows_nothing_is_refused(call):
    with pytest.raises(ValueError, match="example_input must be given, got None; pass a batch"):
        call(small().eval(), None)
    with pytest.raises(ValueError, match=r"must not be empty, got a tensor of \(0, 3, 8, 8\)"):
        call(small().eval(), x()[:0])


def test_models_without_values_are_refused():
    with pytest.raises(ValueError, match="got Sequential on the meta device; load its weights"):
        proprelu.merge(small().to("meta").eval(), x())
    lazy = nn.Sequential(nn.LazyConv2d(4, 1)).eval()
    with pytest.raises(ValueError, match=r"got none yet for 0.weight of a lazy module; run one"):
        proprelu.merge(lazy, x())


def test_an_unknown_cost_is_refused():
    with pytest.raises(ValueError, match='cost must be "latency" or "macs"'):
        proprelu.merge(small().eval(), x(), cost="flops")
