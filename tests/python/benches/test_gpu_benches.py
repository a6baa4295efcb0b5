"""What the benchmarks of a GPU count, merge and say; nothing is timed here, and there is no GPU."""

from __future__ import annotations

import importlib
import json

import pytest
from test_benches import BENCHES, ROW_KEYS, bench


def part(name):
    """A module of benches/gpu."""
    return importlib.import_module(f"gpu.{name}")


# ---- the floor ----


def test_the_floor_is_what_two_layers_compute_and_move():
    cost = part("cost")
    layers = [cost.Layer(inputs=10, outputs=20, macs=100), cost.Layer(20, 4, 80)]
    found = cost.step_cost(layers, parameters=7, batch=3)
    # Forward and twice backward, but nobody needs the gradient of the images.
    assert found.flops == 2 * (3 * 180 - 100) * 3
    forward = (10 + 20) + (20 + 4)
    backward = (20 + 10) + (4 + 20 + 20)
    assert found.bytes == 2 * (forward + backward) * 3 + 16 * 7


def test_the_longer_of_computing_and_moving_counts():
    cost = part("cost").Cost(flops=4e12, bytes=1e9)
    assert cost.milliseconds(1e15, 1e12) == pytest.approx(4.0)
    assert cost.milliseconds(1e16, 1e12) == pytest.approx(1.0)


def test_operations_are_those_of_the_benchmark_of_the_cpu():
    from side_by_side.floor import step_flops

    work = part("works").work_named("resnet20_2to1", dry=True)
    assert part("floor").cost_of(work).flops == step_flops(work)


# ---- rows ----


def measured(work="resnet20_2to1", **times):
    """As the rounds leave it: milliseconds by the name of a system in systems.py."""
    measure, systems = part("measure"), part("systems")
    ready = {"losses": [2.0], "memory": {"reserved": 50.0}, "setup_s": 1.0, "notes": []}
    floor = {
        "machine": {"device": "Some GPU"},
        "versions": {"torch": "2"},
        "cost": {"flops": 1e9, "bytes": 3e6},
        "peaks": {"flops": 1e12, "bytes": 1e9},
        "losses": [2.0],
        "spread": {"bf16": [0.0]},
    }
    runs = [measure.Run(getattr(systems, name), ready, list(ms)) for name, ms in times.items()]
    return measure.Measured(part("works").work_named(work), floor, runs)


def test_rows_have_what_all_benchmarks_write():
    results = part("results")
    ours, theirs = results.with_ratios(
        results.rows(measured(OURS=[2.0, 1.0, 4.0], RESIDENT=[3.0, 5.0, 4.0]))
    )
    assert set(ours) == set(theirs) == ROW_KEYS
    assert (ours["median_ms"], ours["min_ms"], ours["max_ms"]) == (2.0, 1.0, 4.0)
    assert ours["per_second"] == 512 / 2e-3
    assert ours["ratio_to_best_peer"] == 2.0
    assert theirs["ratio_to_best_peer"] == 1.0
    assert ours["floor_ms"] == pytest.approx(3.0)
    assert ours["peak_mb"] == 50.0


def test_without_a_peer_there_is_no_ratio():
    results = part("results")
    (row,) = results.with_ratios(results.rows(measured(OURS=[2.0])))
    assert row["ratio_to_best_peer"] is None


def test_other_losses_are_told():
    results = part("results")
    wrong = measured(OURS=[2.0])
    assert results.disagreements(wrong) == []
    wrong.floor["losses"] = [2.5]
    (line,) = results.disagreements(wrong)
    assert line.startswith("proprelu bf16, step 1: ")


# ---- the file ----


def test_later_runs_add_to_the_file_and_replace(tmp_path):
    results = part("results")
    path = tmp_path / "results" / "cuda.json"
    results.keep(path, results.report(measured("resnet50", OURS=[10.0])))
    results.keep(path, results.report(measured(OURS=[2.0], RESIDENT=[6.0])))
    later = measured(OURS=[3.0])
    later.skipped["torch eager resident bf16"] = "no time"
    results.keep(path, results.report(later))
    results.keep(path, results.report(measured("resnet50", RESIDENT=[15.0])))
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
    results = part("results")
    path = tmp_path / "cuda.json"
    results.keep(path, results.report(measured(OURS=[2.0])))
    other = measured(OURS=[2.0])
    other.floor["machine"] = {"device": "Another GPU"}
    with pytest.raises(SystemExit, match="has rows of Some GPU, these are of Another GPU"):
        results.keep(path, results.report(other))


def test_a_file_is_named_after_the_device():
    path = part("results").default_path("cuda", "NVIDIA H100 80GB HBM3")
    assert path == BENCHES / "results" / "cuda-nvidia-h100-80gb-hbm3.json"


def test_the_last_line_has_the_ratios_of_the_aims():
    results, report = part("results"), part("report")
    small = results.rows(measured(OURS=[2.0], LOADER=[18.0], RESIDENT=[4.0], REDUCE_OVERHEAD=[3.0]))
    large = results.rows(measured("resnet50", OURS=[10.0], MAX_AUTOTUNE=[11.0]))
    line = report.last_line([*small, *large])
    assert "9.00 times as fast as torch eager loader bf16 (aim 8)" in line
    assert "1.50 times as fast as best of resident and compiled (aim 1.3)" in line
    assert "1.00 of the memory of torch eager resident bf16 (aim at most 0.7)" in line
    assert line.endswith("1.10 times as fast as torch compile max-autotune resident bf16 (aim 1.1)")
    assert "nothing measured" in report.last_line([])


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


def test_times_are_those_of_the_runs_that_reached_it():
    report = part("time_report")
    trainings = [{"epochs": epochs(*tops)} for tops in [(0.5, 0.9, 0.9), (0.5, 0.6, 0.7)]]
    told = report.summary(trainings, target=0.9)
    assert (told["runs"], told["reached"]) == (2, 1)
    # The first epoch counts as the median of 2 and 3 seconds.
    assert told["training_seconds"] == {"mean": 4.5, "deviation": 0.0}
    assert told["all_seconds"]["mean"] == 40.0
    assert told["final_top1"]["mean"] == pytest.approx(0.8)
    assert "1 of 2 runs reached 90%" in report.line("proprelu bf16", told, 0.9)
    peer = report.summary([{"epochs": epochs(0.5, 0.5, 0.95)}], target=0.9)
    line = report.last_line({"proprelu bf16": told, "torch": peer}, 0.9)
    assert line.endswith("(1 of 2 runs), 1.67 times as fast as torch")


# ---- all of it, on the CPU ----


@pytest.mark.slow
def test_a_dry_run_goes_all_the_way(tmp_path):
    file = tmp_path / "cuda.json"
    options = ("--dry-run", "--only", "resnet20", "--systems", "eager,proprelu")
    printed = bench("cuda.py", *options, "--json", file)
    assert "the losses of 6 steps on one batch" in printed
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
def test_a_race_goes_on_where_it_was_interrupted(tmp_path):
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
