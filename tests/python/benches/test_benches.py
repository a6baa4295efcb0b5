"""The benchmarks start, list their choices and write their results; nothing is timed here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BENCHES = ROOT / "benches"
ROW_KEYS = {
    "work",
    "system",
    "median_ms",
    "min_ms",
    "max_ms",
    "per_second",
    "ratio_to_best_peer",
    "floor_ms",
    "peak_mb",
}


def bench(script, *arguments):
    """The output of a benchmark; with one thread, as it runs beside other tests."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHES / script), *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("script", "listed"),
    [
        ("train_step.py", "resnet20_2to1"),
        ("accuracy.py", "proprelu fp32"),
        ("time_to_accuracy.py", "proprelu bf16"),
        ("cuda.py", "resnet20_2to1"),
        ("cuda_time_to_accuracy.py", "proprelu bf16"),
        ("models.py", "torchvision resnet18"),
        ("pretrained.py", "2:1 annealed, distilled"),
        ("layers.py", "covariance_pool"),
        ("methods.py", "tied blocks, B = 2"),
        ("merge.py", "mobilenet_v2_b1"),
        ("depth.py", "random blocks, budget 0.5"),
        ("evidence.py", "plain56"),
    ],
)
def test_each_lists_its_choices(script, listed):
    assert listed in bench(script, "--list").split("\n")


def test_every_benchmark_is_listed_here():
    assert {path.name for path in BENCHES.glob("*.py")} == {
        "train_step.py",
        "accuracy.py",
        "time_to_accuracy.py",
        "cuda.py",
        "cuda_time_to_accuracy.py",
        "models.py",
        "pretrained.py",
        "layers.py",
        "methods.py",
        "merge.py",
        "depth.py",
        "evidence.py",
    }


def test_names_are_chosen_by_their_parts():
    lines = bench("train_step.py", "--list", "--only", "56,vgg", "--systems", "burn").split("\n")
    assert lines[:3] == ["resnet56_2to1", "vgg16_bn", "  burn fp32"]


@pytest.mark.slow
def test_a_short_run_writes_rows_and_checks_losses(tmp_path):
    file = tmp_path / "steps.json"
    systems = "torch eager channels_last fp32,proprelu bf16"
    options = ("--only", "resnet20_2to1", "--systems", systems, "--rounds", 1, "--json", file)
    printed = bench("train_step.py", *options)
    assert "the losses of the first 4 steps agree" in printed
    assert printed.splitlines()[-1].startswith("proprelu bf16 runs at ")
    report = json.loads(file.read_text())
    assert set(report) == {"machine", "versions", "rows"}
    assert {"torch", "proprelu"} <= set(report["versions"])
    assert {"torch eager channels_last fp32", "proprelu bf16"} <= {
        row["system"] for row in report["rows"]
    }
    for row in report["rows"]:
        assert set(row) == ROW_KEYS
        assert row["min_ms"] <= row["median_ms"] <= row["max_ms"]
        assert row["floor_ms"] > 0
        assert row["peak_mb"] is None or row["peak_mb"] > 10


@pytest.mark.slow
def test_finished_trainings_are_kept(tmp_path):
    kept, table = tmp_path / "accuracy.json", tmp_path / "accuracy.md"
    options = ["--only", "proprelu fp32", "--epochs", 1, "--limit", 1024]
    options += ["--json", kept, "--table", table]
    bench("accuracy.py", *options, "--seeds", 1)
    first = json.loads(kept.read_text())["trainings"]["proprelu fp32"]["0"]
    bench("accuracy.py", *options, "--seeds", 2)
    trainings = json.loads(kept.read_text())["trainings"]["proprelu fp32"]
    assert set(trainings) == {"0", "1"}
    assert trainings["0"] == first
    assert "| proprelu fp32 | 2 |" in table.read_text()


@pytest.mark.slow
def test_single_layers_compute_the_same(tmp_path):
    file = tmp_path / "layers.json"
    printed = bench("layers.py", "--rounds", 1, "--json", file)
    assert printed.count("the results agree") == 4
    assert printed.splitlines()[-1].startswith("proprelu computes covariance_pool at ")
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) == 4 * 8
    assert all(set(row) == ROW_KEYS for row in rows)
    bench("layers.py", "--only", "squeeze", "--rounds", 1, "--json", file)
    assert len(json.loads(file.read_text())["rows"]) == len(rows)


@pytest.mark.slow
def test_a_method_is_trained(tmp_path):
    options = ["--json", tmp_path / "kept.json", "--table", tmp_path / "table.md"]
    options += ["--seeds", 1, "--epochs", 1, "--limit", 1024]
    printed = bench("methods.py", "--only", "tied blocks, B = 2", *options)
    assert "| tied blocks, B = 2 | 69,818 | " in printed
    assert "--seeds 1 --epochs 1 --limit 1024" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_a_rule_of_depth_compression_is_trained(tmp_path):
    options = ["--json", tmp_path / "kept.json", "--table", tmp_path / "merge.md"]
    options += ["--seeds", 1, "--epochs", 1, "--extra-epochs", 1, "--limit", 1024]
    printed = bench("depth.py", "--only", "random blocks, budget 0.65", *options)
    assert "| random blocks, budget 0.65 | 1 | " in printed
    assert (tmp_path / "merge.svg").exists()


@pytest.mark.slow
def test_a_sweep_is_made_and_continued(tmp_path):
    options = ["--results", tmp_path, "--table", tmp_path / "evidence.md", "--seeds", 1]
    options += ["--epochs", 1, "--images", 1280, "--only", "resnet20-tenth"]
    first = bench("evidence.py", *options)
    assert "One seed cannot show" in first
    page = (tmp_path / "evidence.md").read_text()
    assert "## ResNet-20, a tenth of the images" in page
    assert (tmp_path / "evidence-resnet20-tenth.svg").exists()
    assert bench("evidence.py", *options).split("images/s")[1:] == first.split("images/s")[1:]
