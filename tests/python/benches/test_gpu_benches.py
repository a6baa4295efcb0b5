"""Counting, merging and reporting of the benchmarks of a GPU; without a GPU and without timing."""

from __future__ import annotations

import importlib
import json

import pytest
import torch
from test_benches import BENCHES, ROW_KEYS, bench
from torch import nn


def part(name):
    """A module in benches."""
    return importlib.import_module(name)


# ---- the floor ----


def test_the_floor_counts_operations_and_bytes_of_two_layers():
    cost = part("harness.cost")
    layers = [cost.Layer(inputs=10, outputs=20, macs=100), cost.Layer(20, 4, 80)]
    found = cost.step_cost(layers, parameters=7, batch=3)
    # Forward and twice backward, but without the gradient of the images.
    assert found.flops == 2 * (3 * 180 - 100) * 3
    forward = (10 + 20) + (20 + 4)
    backward = (20 + 10) + (4 + 20 + 20)
    assert found.bytes("bf16") == 2 * (forward + backward) * 3 + 16 * 7
    assert found.bytes("fp32") == 4 * (forward + backward) * 3 + 16 * 7


def test_the_floor_is_the_longer_of_operations_and_bytes():
    cost = part("harness.cost").Cost(flops=4e12, values=5e8)
    assert cost.milliseconds("bf16", {"bf16": 1e15, "bytes": 1e12}) == pytest.approx(4.0)
    assert cost.milliseconds("bf16", {"bf16": 1e16, "bytes": 1e12}) == pytest.approx(1.0)


def test_operations_of_a_step_are_counted_on_the_real_network():
    work = part("works.steps").GPU_WORKS[0]
    model = part("works.start").make_model(work)
    macs = []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(
                lambda module, _, output: macs.append(output.numel() * module.weight[0].numel())
            )
    model(torch.zeros(1, 3, work.size, work.size))
    cost = part("systems.step_floor").cost_of(work)
    assert cost.flops == 2 * (3 * sum(macs) - macs[0]) * work.batch


# ---- rows ----


def measured(work="resnet20_2to1", **times):
    """As the rounds return it: milliseconds by the name of a system in systems/gpu.py."""
    rounds, systems, works = part("harness.rounds"), part("systems.gpu"), part("works.steps")
    ready = {"losses": [2.0], "memory": {"peak": 50.0}, "setup_s": 1.0, "notes": []}
    floor = {
        "machine": {"device": "Some GPU"},
        "versions": {"torch": "2"},
        "cost": {"flops": 1e9, "values": 1.5e6},
        "peaks": {"bf16": 1e12, "bytes": 1e9},
        "losses": [2.0],
        "spread": {"bf16": [0.0]},
    }
    runs = [rounds.Run(getattr(systems, name), ready, list(ms)) for name, ms in times.items()]
    (its_work,) = (found for found in works.GPU_WORKS if found.name == work)
    return rounds.Measured(its_work, floor, runs)


def test_rows_have_the_columns_of_all_benchmarks():
    results = part("harness.results")
    ours, theirs = results.rows(measured(OURS=[2.0, 1.0, 4.0], RESIDENT=[3.0, 5.0, 4.0]))
    assert set(ours) == set(theirs) == ROW_KEYS
    assert (ours["median_ms"], ours["min_ms"], ours["max_ms"]) == (2.0, 1.0, 4.0)
    assert ours["per_second"] == 512 / 2e-3
    assert ours["ratio_to_best_peer"] == 2.0
    assert theirs["ratio_to_best_peer"] == 1.0
    assert ours["floor_ms"] == pytest.approx(3.0)
    assert ours["peak_mb"] == 50.0


def test_without_a_peer_there_is_no_ratio():
    results = part("harness.results")
    (row,) = results.rows(measured(OURS=[2.0]))
    assert row["ratio_to_best_peer"] is None


def test_other_losses_are_reported():
    disagreements = part("harness.agreement").disagreements
    wrong = measured(OURS=[2.0])
    assert disagreements(wrong) == []
    wrong.floor["losses"] = [2.5]
    (line,) = disagreements(wrong)
    assert line.startswith("proprelu bf16, step 1: ")


# ---- the file ----


def keep(path, found):
    results = part("harness.results")
    results.keep(path, results.report(found), by_system=True)


def test_later_runs_add_to_the_file_and_replace(tmp_path):
    path = tmp_path / "results" / "cuda.json"
    keep(path, measured("resnet50", OURS=[10.0]))
    keep(path, measured(OURS=[2.0], RESIDENT=[6.0]))
    later = measured(OURS=[3.0])
    later.skipped["torch eager resident bf16"] = "no time"
    keep(path, later)
    keep(path, measured("resnet50", RESIDENT=[15.0]))
    report = json.loads(path.read_text())
    assert set(report) == {"machine", "versions", "rows"}
    ratios = {(row["work"], row["system"]): row["ratio_to_best_peer"] for row in report["rows"]}
    assert ratios == {
        ("resnet50", "proprelu bf16"): 1.5,
        ("resnet50", "torch eager resident bf16"): 1.0,
        ("resnet20_2to1", "proprelu bf16"): 2.0,
        ("resnet20_2to1", "torch eager resident bf16"): 1.0,
    }
    works = report["machine"]["works"]
    assert set(works) == {"resnet50", "resnet20_2to1"}
    # It was measured before.
    assert works["resnet20_2to1"]["skipped"] == {}


def test_rows_of_two_devices_are_not_mixed(tmp_path):
    path = tmp_path / "cuda.json"
    keep(path, measured(OURS=[2.0]))
    other = measured(OURS=[2.0])
    other.floor["machine"] = {"device": "Another GPU"}
    with pytest.raises(SystemExit, match="has rows of Some GPU, these are of Another GPU"):
        keep(path, other)


def test_works_of_earlier_runs_stay_but_not_their_systems(tmp_path):
    results = part("harness.results")
    path = tmp_path / "steps.json"
    results.keep(path, results.report(measured("resnet50", OURS=[10.0])))
    results.keep(path, results.report(measured(OURS=[2.0], RESIDENT=[6.0])))
    results.keep(path, results.report(measured(OURS=[3.0])))
    rows = json.loads(path.read_text())["rows"]
    assert [(row["work"], row["median_ms"], row["ratio_to_best_peer"]) for row in rows] == [
        ("resnet50", 10.0, None),
        ("resnet20_2to1", 3.0, None),
    ]


@pytest.mark.parametrize("name", ["train_step-amd-epyc", "train_step-amd-epyc-420gflops", "layers"])
def test_the_committed_results_can_be_added_to(name):
    results = part("harness.results")
    kept = json.loads((BENCHES / "results" / f"{name}.json").read_text())
    new = results.report(measured("resnet18", OURS=[2.0]))
    new["machine"] = {**kept["machine"], "works": new["machine"]["works"]}
    rows = results.merged(kept, new, by_system=False)["rows"]
    assert [row for row in kept["rows"] if row["work"] != "resnet18"] == [
        row for row in rows if row["work"] != "resnet18"
    ]


def test_a_file_is_named_after_the_device():
    path = part("harness.results").default_path("cuda", "NVIDIA H100 80GB HBM3")
    assert path == BENCHES / "results" / "cuda-nvidia-h100-80gb-hbm3.json"


def test_the_last_line_has_the_ratios_of_the_aims():
    results, aims = part("harness.results"), part("systems.aims")
    small = results.rows(measured(OURS=[2.0], LOADER=[18.0], RESIDENT=[4.0], REDUCE_OVERHEAD=[3.0]))
    large = results.rows(measured("resnet50", OURS=[10.0], MAX_AUTOTUNE=[11.0]))
    line = aims.last_line([*small, *large])
    assert "9.00 times as fast as torch eager loader bf16 (aim 8)" in line
    assert "1.50 times as fast as best of resident and compiled (aim 1.3)" in line
    assert "1.00 of the memory of torch eager resident bf16 (aim at most 0.7)" in line
    assert line.endswith("1.10 times as fast as torch compile max-autotune resident bf16 (aim 1.1)")
    assert "nothing measured" in aims.last_line([])


# ---- the time to an accuracy ----


def epochs(*accuracies):
    """The first one takes 9 seconds more."""
    return [
        {
            "seconds": 10.0 if number == 0 else 1.0 + number,
            "elapsed": 20.0 * (number + 1),
            "top1": a,
        }
        for number, a in enumerate(accuracies)
    ]


def test_times_count_only_runs_that_reached_the_accuracy():
    times = part("harness.times")
    trainings = [{"epochs": epochs(*tops)} for tops in [(0.5, 0.9, 0.9), (0.5, 0.6, 0.7)]]
    found = times.summary(trainings, target=0.9)
    assert (found["runs"], found["reached"]) == (2, 1)
    # The first epoch counts as the median of 2 and 3 seconds.
    assert found["training_seconds"] == {"mean": 4.5, "deviation": 0.0}
    assert found["all_seconds"]["mean"] == 40.0
    assert found["final_top1"]["mean"] == pytest.approx(0.8)
    assert "1 of 2 runs reached 90%" in times.line("proprelu bf16", found, 0.9)
    peer = times.summary([{"epochs": epochs(0.5, 0.5, 0.95)}], target=0.9)
    line = times.last_line("proprelu bf16", {"proprelu bf16": found, "torch": peer}, 0.9)
    assert line.endswith("(1 of 2 runs), 1.67 times as fast as torch")


# ---- all of it, on the CPU ----


@pytest.mark.slow
def test_a_dry_run_goes_all_the_way(tmp_path):
    file = tmp_path / "cuda.json"
    options = ("--dry-run", "--only", "resnet20", "--systems", "eager,proprelu")
    printed = bench("cuda.py", *options, "--json", file)
    assert "the losses of the first 6 steps agree" in printed
    assert printed.splitlines()[-1].startswith("proprelu bf16: resnet20_2to1 ")
    rows = json.loads(file.read_text())["rows"]
    assert {row["system"] for row in rows} == {
        "torch eager loader bf16",
        "torch eager resident bf16",
        "proprelu bf16",
        "proprelu bf16 low memory",
    }
    for row in rows:
        assert set(row) == ROW_KEYS
        assert row["min_ms"] <= row["median_ms"] <= row["max_ms"]


@pytest.mark.slow
def test_an_interrupted_benchmark_continues(tmp_path):
    file = tmp_path / "time.json"
    options = ("--dry-run", "--systems", "eager,proprelu", "--json", file)
    bench("cuda_time_to_accuracy.py", *options, "--runs", 1)
    first = json.loads(file.read_text())["trainings"]["proprelu bf16"]["0"]
    printed = bench("cuda_time_to_accuracy.py", *options, "--runs", 2)
    kept = json.loads(file.read_text())
    assert set(kept["trainings"]) == {"proprelu bf16", "torch eager resident bf16"}
    assert kept["trainings"]["proprelu bf16"]["0"] == first
    assert kept["summary"]["proprelu bf16"]["runs"] == 2
    assert printed.splitlines()[-1].startswith("proprelu bf16 reaches ")
