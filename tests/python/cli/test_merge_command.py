"""``proprelu merge``."""

import json
import sys

import proprelu
import torch
from proprelu.cli.sources import model_by_name


def small(call, *arguments):
    options = ("--size", 32, "--num-classes", 10, "--cost", "macs")
    return call("merge", "resnet20", *options, *arguments)


def test_a_merged_network_is_written_and_loaded(call, tmp_path):
    model = model_by_name("resnet20")
    trained = proprelu.convert(model, "2:1").eval()
    proprelu.save_weights(trained, "trained.safetensors")
    shown = small(call, "--weights", "trained.safetensors", "--out", "merged.safetensors")
    assert shown.code == 0, shown.err
    assert "merged for macs" in shown.out
    assert "saved merged.safetensors" in shown.out
    x = torch.randn(2, 3, 32, 32)
    loaded = proprelu.load("merged.safetensors", model, x)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in loaded.modules())
    torch.testing.assert_close(loaded(x), trained(x), rtol=1e-4, atol=1e-4)


def test_json_and_onnx(call, tmp_path):
    import onnxruntime

    shown = small(call, "--onnx", "merged.onnx", "--json")
    assert shown.code == 0, shown.err
    report = json.loads(shown.out)
    assert report["macs"][1] < report["macs"][0]
    assert report["error"] < 1e-5
    session = onnxruntime.InferenceSession("merged.onnx")
    (y,) = session.run(None, {session.get_inputs()[0].name: torch.zeros(1, 3, 32, 32).numpy()})
    assert y.shape == (1, 10)


def test_wrong_options_are_named(call):
    assert small(call, "--cost", "flops").err.startswith("error: --cost must be")
    assert small(call, "--out", "merged.pt").err.startswith("error: --out must end in .safetensors")


def test_files_that_cannot_be_written_are_named_before_anything_is_merged(call, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("must not be merged")

    monkeypatch.setattr(sys.modules["proprelu.cli.merge"], "apply", refuse)
    for option, file in (
        ("--out", "/proc/none/merged.safetensors"),
        ("--onnx", "/proc/none/a.onnx"),
    ):
        assert small(call, option, file).err.startswith(f"error: cannot write {file}: ")
