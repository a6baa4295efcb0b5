"""Tied layers, compared block by block with their definition in float64."""

import warnings

import proprelu
import pytest
import torch
from proprelu import plan_for
from proprelu.functional import tied_conv2d
from proprelu.nn import TiedBlockConv2d, TiedLinear, TiedSqueezeExcite
from torch import nn
from torch.nn import functional as F


def by_blocks(layer, x):
    """The definition: the same convolution of each block."""
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    blocks = x.chunk(layer.num_blocks, 1)
    return torch.cat([F.conv2d(b, layer.weight, layer.bias, *options) for b in blocks], 1)


CASES = [
    (4, 6, 3, {"num_blocks": 2, "padding": 1}),
    (6, 3, 1, {"num_blocks": 3, "bias": False}),
    (8, 16, 3, {"num_blocks": 2, "groups": 2, "stride": 2, "padding": 1}),
    (8, 8, (3, 1), {"num_blocks": 8, "dilation": 2, "padding": (2, 0)}),
    (5, 5, 3, {"num_blocks": 1, "padding": "same"}),
]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("in_channels", "out_channels", "kernel_size", "options"), CASES)
def test_a_tied_convolution(in_channels, out_channels, kernel_size, options, channels_last):
    torch.manual_seed(0)
    layer = TiedBlockConv2d(in_channels, out_channels, kernel_size, **options).double()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for n, h, w in ((1, 7, 5), (3, 4, 9)):
        x = torch.randn(n, in_channels, h, w, dtype=torch.float64)
        x = x.contiguous(memory_format=layout).requires_grad_()
        inputs = (x, *layer.parameters())
        found, expected = layer(x), by_blocks(layer, x)
        torch.testing.assert_close(found, expected)
        assert found.is_contiguous(memory_format=layout)
        grad = torch.randn_like(found)
        gradients = torch.autograd.grad(found, inputs, grad)
        for mine, theirs in zip(
            gradients, torch.autograd.grad(expected, inputs, grad), strict=True
        ):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("channels_last", [False, True])
def test_it_can_be_differentiated_twice(channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64).contiguous(memory_format=layout)
    weight, bias = torch.randn(3, 2, 2, 2, dtype=torch.float64), torch.randn(3).double()
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    assert torch.autograd.gradcheck(tied_conv2d, inputs)
    assert torch.autograd.gradgradcheck(tied_conv2d, inputs)


def test_parameters_and_multiplications_are_the_formulas():
    dense = nn.Conv2d(32, 64, 3, padding=1, bias=False)
    for blocks, groups in ((2, 1), (4, 1), (2, 4)):
        layer = TiedBlockConv2d(32, 64, 3, padding=1, bias=False, groups=groups, num_blocks=blocks)
        assert layer.weight.numel() * blocks**2 * groups == dense.weight.numel()
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            out = layer(torch.randn(1, 32, 8, 8))
        assert counter.get_total_flops() == 2 * out.numel() * 9 * 32 // (blocks * groups)
    assert TiedLinear(32, 64, bias=False, num_blocks=4).weight.numel() * 16 == 32 * 64
    gate = TiedSqueezeExcite(512, num_blocks=8)
    weights = sum(p.numel() for p in gate.parameters() if p.ndim == 2)
    assert weights == 2 * 512**2 // (16 * 8**2)


def test_a_tied_linear_layer():
    layer, x = TiedLinear(6, 9, num_blocks=3).double(), torch.randn(2, 5, 6).double()
    expected = torch.cat([F.linear(b, layer.weight, layer.bias) for b in x.chunk(3, -1)], -1)
    torch.testing.assert_close(layer(x), expected)
    assert torch.autograd.gradcheck(layer, x.requires_grad_())


def test_tied_squeeze_and_excitation():
    gate, x = TiedSqueezeExcite(12, num_blocks=3, reduction=2).double(), torch.randn(2, 12, 3, 5)
    x = x.double()
    gates = [gate.expand(F.relu(gate.reduce(b.mean((2, 3))))) for b in x.chunk(3, 1)]
    torch.testing.assert_close(gate(x), x * torch.cat(gates, 1).sigmoid()[:, :, None, None])
    assert gate.reduce.out_features == 2
    assert torch.autograd.gradcheck(gate, x.requires_grad_())


LAYERS = {
    "conv": lambda: TiedBlockConv2d(8, 12, 3, padding=1, num_blocks=4),
    "grouped": lambda: TiedBlockConv2d(8, 8, 3, padding=1, groups=2, num_blocks=2),
    "squeeze_excite": lambda: TiedSqueezeExcite(8, num_blocks=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_it_survives_torch_transforms(name, survives_torch_transforms):
    torch.manual_seed(0)
    survives_torch_transforms(LAYERS[name](), torch.randn(2, 8, 6, 5))


def test_onnx(tmp_path):
    import onnxruntime

    layer, x = LAYERS["conv"]().eval(), torch.randn(2, 8, 6, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations in the exporter
        torch.onnx.export(layer, (x,), tmp_path / "layer.onnx", dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(tmp_path / "layer.onnx")
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
def test_it_trains_as_one_program(bf16, trains_alike, classifier):
    torch.manual_seed(0)
    layers = (*(LAYERS[name]() for name in ("grouped", "conv")), nn.BatchNorm2d(12), nn.ReLU())
    trains_alike(classifier(8, *layers, TiedSqueezeExcite(12, 3)), bf16=bf16)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("channels", "num_blocks"), [(8, 2), (48, 3), (64, 4)])
def test_our_kernels_compute_it(channels, num_blocks, bf16, trains_alike, classifier):
    torch.manual_seed(0)
    first = TiedBlockConv2d(channels, channels, 3, padding=1, num_blocks=num_blocks)
    second = TiedBlockConv2d(channels, 2 * channels, 1, 2, bias=False, num_blocks=num_blocks)
    norms = [nn.BatchNorm2d(channels), nn.BatchNorm2d(2 * channels)]
    model = classifier(channels, first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU())
    trains_alike(model, bf16=bf16)
    trainer = proprelu.Trainer(model, precision="bf16" if bf16 else "fp32", progress=False)
    trainer.fit((torch.randn(8, 3, 16, 16), torch.randint(4, (8,))), epochs=1, batch_size=4)
    lines = [line.split() for line in trainer.program.splitlines()[1:]]
    kernels = {line[1]: line[2] for line in lines}
    assert "aten::repeat" not in kernels
    convolutions = [line for line in lines if "convolution" in line[1]]
    assert len(convolutions) == 8
    assert all(line[2].split("-")[0] in ("direct", "winograd") for line in convolutions)


def test_blocks_with_groups_inside_go_to_torch(classifier):
    trainer = proprelu.Trainer(classifier(8, LAYERS["grouped"]()), progress=False)
    trainer.fit((torch.randn(8, 3, 16, 16), torch.randint(4, (8,))), epochs=1, batch_size=4)
    lines = trainer.program.splitlines()[1:]
    tied = [line.split()[1:3] for line in lines if "float32[4, 2, 3, 3]" in line]
    names = ["convolution", "convolution_grad_weight", "convolution_grad_input"]
    assert tied == [[name, "torch"] for name in names]
    assert "aten::repeat" not in trainer.program


def test_a_plan_sees_it():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), TiedBlockConv2d(4, 4, 3), nn.ReLU())
    assert [site.conv for site in plan_for(net, "2:1").sites] == ["0", "2"]
    assert torch.fx.symbolic_trace(net)(torch.ones(1, 3, 8, 8)).shape == (1, 4, 4, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TiedBlockConv2d(6, 9, 3, num_blocks=2),
            "num_blocks must divide in_channels=6 and out_channels=9, got 2; use one of 1, 3",
        ),
        (lambda: TiedBlockConv2d(6, 6, 3, num_blocks=0), "got 0"),
        (
            lambda: TiedBlockConv2d(8, 8, 3, groups=3, num_blocks=2),
            "groups must divide in_channels of a block=4 and .* got 3; use one of 1, 2, 4",
        ),
        (lambda: TiedLinear(4, 6, num_blocks=4), "num_blocks must divide in_features=4"),
        (lambda: TiedSqueezeExcite(20), "num_blocks must divide channels=20, got 8"),
        (lambda: TiedSqueezeExcite(16, reduction=0), "reduction must be at least 1"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
