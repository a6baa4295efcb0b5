"""``proprelu shrink``."""

import json

import numpy as np
import proprelu
import pytest
import torch
from proprelu.cli.sources import model_by_name


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 64), ("test", 32)):
        arrays[f"{part}_images"] = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 4
    np.savez("data.npz", **arrays)
    model = model_by_name("mobilenet_v2", num_classes=4)
    proprelu.save_weights(model, "weights.safetensors")
    return model


def small(call, *arguments, budget=0.9):
    options = ("--weights", "weights.safetensors", "--data", "data.npz", "--epochs", 1)
    options += ("--objective", "macs", "--batch-size", 32, "--budget", budget)
    return call("shrink", "mobilenet_v2", *options, *arguments)


def test_a_run_is_written_and_can_be_loaded(call, data, tmp_path):
    shown = small(call, "--out", "run", "--onnx", "small.onnx", "--json")
    assert shown.code == 0, shown.err
    found = json.loads(shown.out)
    assert found["after"]["macs"] <= 0.9 * found["before"]["macs"]
    assert found["dropped"] > 0
    for name in ("run/merged.safetensors", "run/plan.json", "run/shrink.png", "small.onnx"):
        assert (tmp_path / name).exists(), name
    x = torch.randn(1, 3, 32, 32)
    loaded = proprelu.load("run/merged.safetensors", data, x)
    assert loaded(x).shape == (1, 4)


def test_errors_name_the_option(call, data):
    assert small(call, budget=2).err.startswith("error: --budget must be")
    assert small(call, "--objective", "speed").err.startswith("error: --objective must be")
    shown = small(call, "--onnx", "/proc/none/small.onnx")
    assert shown.err.startswith("error: cannot write /proc/none/small.onnx: ")
