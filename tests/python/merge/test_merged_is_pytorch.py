"""A merged network is an ordinary module: exported, compiled, scripted, saved and loaded."""

import copy
import io
import pickle
import warnings

import proprelu
import pytest
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, stride=1):
        super().__init__()
        self.stride = stride
        self.layers = nn.Sequential(
            nn.Conv2d(4, 24, 1), nn.BatchNorm2d(24),
            nn.Conv2d(24, 24, 3, stride, padding=1, groups=24), nn.Conv2d(24, 4, 1),
        )  # fmt: skip

    def forward(self, x):
        return x + self.layers(x) if self.stride == 1 else self.layers(x)


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1), nn.ReLU()]
    layers += [Block(), nn.ReLU6(), Block(stride=2), Block(), nn.ReLU6()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)]
    return nn.Sequential(*layers).eval()


def is_row(module):
    return isinstance(module, proprelu.nn.BorderedSequential)


@pytest.fixture(scope="module")
def merged_and_input():
    """A merged network with a border, a row of them, a frame and residual blocks."""

    x = torch.randn(2, 1, 48, 40)
    merged = proprelu.merge(network(), x, cost="macs")
    kinds = {type(module).__name__ for module in merged.modules()}
    assert {"BorderedSequential", "FramedConv2d"} <= kinds
    assert 2 in [len(module) for module in merged.modules() if is_row(module)]
    return merged, x


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_export(merged_and_input):
    merged, x = merged_and_input
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        exported = torch.export.export(merged, (x,))
        close(exported.module()(x), merged(x))
        close(exported.run_decompositions().module()(x), merged(x))


def test_onnx(merged_and_input, tmp_path):
    import onnxruntime

    merged, x = merged_and_input
    file = tmp_path / "merged.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(merged, (x,), file, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(file)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    close(torch.from_numpy(found), merged(x))


def test_compile(merged_and_input):
    merged, x = merged_and_input
    torch._dynamo.reset()
    close(torch.compile(merged, backend="aot_eager", fullgraph=True)(x), merged(x))
    torch._dynamo.reset()


def test_script_and_trace(merged_and_input):
    merged, x = merged_and_input
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        close(torch.jit.trace(merged, x)(x), merged(x))


def test_copies_and_pickles(merged_and_input):
    merged, x = merged_and_input
    y = merged(x)
    assert torch.equal(copy.deepcopy(merged)(x), y)
    again = pickle.loads(pickle.dumps(merged))
    assert torch.equal(again(x), y)
    assert str(again.report) == str(merged.report)
    file = io.BytesIO()
    torch.save(merged, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), y)


def test_a_state_dict_has_all_numbers(merged_and_input):
    merged, x = merged_and_input
    other = copy.deepcopy(merged)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    file = io.BytesIO()
    torch.save(merged.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), merged(x))


def test_a_bias_that_merging_has_made_is_saved(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).eval()
    nn.init.uniform_(net[1].bias)
    x = torch.randn(1, 3, 4, 4)
    merged = proprelu.merge(net, x, cost="macs")
    assert "0.bias" in merged.state_dict()
    torch.save(merged.state_dict(), tmp_path / "merged.pt")
    other = proprelu.merge(copy.deepcopy(net), x, cost="macs")
    nn.init.zeros_(other.get_submodule("0").bias)
    other.load_state_dict(torch.load(tmp_path / "merged.pt"))
    assert torch.equal(other(x), merged(x))


def test_other_sizes_and_memory_formats(merged_and_input):
    merged, x = merged_and_input
    last = merged(x.contiguous(memory_format=torch.channels_last))
    close(last, merged(x))
    for image in images(*SIZES, *TINY):
        close(merged(image), network()(image))


def images(*sizes):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, 1, *size, generator=generator) for batch, *size in sizes]


# Odd ones; and some that are no larger than the kernels reach, for which a frame is the whole.
SIZES = [(1, 47, 39), (3, 17, 30), (2, 48, 40), (5, 9, 5), (1, 4, 4)]
TINY = [(1, 3, 2), (2, 2, 2), (1, 1, 1)]


def open_sizes():
    names = {0: "batch", 2: "height", 3: "width"}
    return {axis: torch.export.Dim(name, min=4 * bool(axis)) for axis, name in names.items()}


def test_an_export_with_open_sizes(merged_and_input):
    merged, x = merged_and_input
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        exported = torch.export.export(merged, (x,), dynamic_shapes=(open_sizes(),)).module()
    for image in images(*SIZES):
        close(exported(image), network()(image))


def test_onnx_with_open_sizes(merged_and_input, tmp_path):
    import onnxruntime

    merged, x = merged_and_input
    file = tmp_path / "merged.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = (open_sizes(),)
        torch.onnx.export(merged, (x,), file, dynamo=True, verbose=False, dynamic_shapes=shapes)
    session = onnxruntime.InferenceSession(file)
    for image in images(*SIZES):
        (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        close(torch.from_numpy(found), network()(image))


def test_compiled_for_open_sizes(merged_and_input):
    merged, _ = merged_and_input
    torch._dynamo.reset()
    compiled = torch.compile(merged, backend="aot_eager", fullgraph=True, dynamic=True)
    for image in images(*SIZES, *TINY):
        close(compiled(image), network()(image))
    torch._dynamo.reset()
