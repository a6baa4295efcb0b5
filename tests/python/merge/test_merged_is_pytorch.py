"""A merged network is an ordinary module: exported, compiled, scripted, saved and loaded."""

import copy
import io
import pickle
import warnings

import proprelu
import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def merged_and_input():
    """A merged network with a border, a frame and a residual block."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(4, 24, 1), nn.BatchNorm2d(24),
                nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.Conv2d(24, 4, 1),
            )  # fmt: skip

        def forward(self, x):
            return x + self.layers(x)

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1), nn.ReLU(),
        Block(), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip
    x = torch.randn(2, 1, 48, 40)
    merged = proprelu.merge(net.eval(), x, cost="macs")
    kinds = {type(module).__name__ for module in merged.modules()}
    assert {"BorderedSequential", "FramedConv2d"} <= kinds
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
    assert merged(torch.randn(3, 1, 17, 30)).shape == (3, 5)
