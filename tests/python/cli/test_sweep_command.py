"""``proprelu sweep``."""

from __future__ import annotations

import csv
import json

import pytest
from proprelu.sweep import SweepResults

FILES = ("settings.toml", "results.sqlite", "table.csv", "sweep.png", "report.html")


def small(call, npz, *arguments):
    options = ("--data", npz, "--epochs", 1, "--batch-size", 16, "--seeds", 2, "--lr", 0.02)
    return call("sweep", "resnet20", *options, "--ratios", "1:1, 2:1", *arguments)


def test_a_sweep_is_written_and_continued(call, npz, tmp_path):
    shown = small(call, npz, "--out", "run")
    assert shown.code == 0, shown.err
    assert "2:1 last" in shown.out
    sentence = shown.out.strip().splitlines()[-1]
    assert sentence.endswith(".")
    for name in FILES:
        assert (tmp_path / "run" / name).stat().st_size > 0, name
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(FILES)
    with (tmp_path / "run" / "table.csv").open() as file:
        assert [row["ratio"] for row in csv.DictReader(file)] == ["1:1", "2:1 last"]
    first = SweepResults.load(tmp_path / "run" / "results.sqlite")
    assert sentence == first.best().sentence

    again = small(call, npz, "--out", "run")
    assert again.code == 2
    assert again.err.startswith("error: run already holds a sweep; give another --out or --resume")
    grown = call("sweep", "--resume", "run", "--seeds", 3, "--json")
    assert grown.code == 0, grown.err
    found = json.loads(grown.out)
    assert found["runs"] == 6
    assert found["best"]["ratio"] in ("1:1", "2:1")
    kept = SweepResults.load(tmp_path / "run" / "results.sqlite").runs
    assert {run.seconds for run in first.runs} <= {run.seconds for run in kept}


def test_a_sweep_that_is_continued_keeps_its_settings(call, npz, tmp_path):
    small(call, npz, "--out", "run", "--seeds", 1)
    shown = call("sweep", "--resume", "run", "--epochs", 3)
    assert shown.code == 2
    assert "epochs must be 1 as in the sweep that is resumed, got 3" in shown.err
    assert call("sweep", "--resume", "nowhere").code == 2
    assert call("sweep", "--resume", "run", "--out", "other").code == 2


def test_errors_name_the_option(call, npz, tmp_path):
    for options, message in (
        (("--target", 70), "--target must be between 0 and 1, got 70.0"),
        (("--seeds", 0), "--seeds must be at least 1, got 0"),
        (("--ratios", "90:1"), "--ratios must be within the reach of ResNet"),
        (("--placements", "middle"), "--placement"),
        (("--budget", 1), "--budget must be at least 2"),
        (("--precision", "fp8"), "--precision must be one of"),
        (("--tolerance", 3, "--seeds", 1), "--tolerance"),
    ):
        shown = small(call, npz, "--out", "new", *options)
        assert shown.code == 2, (options, shown.err)
        assert message in shown.err
        assert len(shown.err.strip().splitlines()[-1:]) == 1
        assert not (tmp_path / "new").exists(), options


def test_a_sweep_that_cannot_be_continued_so_keeps_its_settings_file(call, npz, tmp_path):
    assert small(call, npz, "--out", "a b", "--seeds", 1).code == 0
    before = (tmp_path / "a b" / "settings.toml").read_text()
    for options in (("--ratios", "90:1"), ("--target", 70), ("--budget", 1)):
        assert call("sweep", "--resume", "a b", *options).code == 2
        assert (tmp_path / "a b" / "settings.toml").read_text() == before
    shown = call("sweep", "--resume", "a b", "--images", 5)
    assert "--images must be left out as in the sweep that is resumed, got 5" in shown.err
    again = small(call, npz, "--out", "a b")
    assert again.err.rstrip().endswith("--resume 'a b'")


def test_ratios_are_an_array_in_toml_too(call, npz, tmp_path):
    (tmp_path / "a.toml").write_text('ratios = ["1:1", "2:1"]\nplacements = ["last"]\nseeds = 1\n')
    options = ("--data", npz, "--epochs", 1, "--batch-size", 16, "--out", "run")
    assert call("sweep", "--config", "a.toml", *options).code == 0
    variants = SweepResults.load(tmp_path / "run" / "results.sqlite").variants
    assert [variant.name for variant in variants] == ["1:1", "2:1 last"]
    (tmp_path / "a.toml").write_text("ratios = [2]\n")
    assert "ratios must be a text" in call("sweep", "--config", "a.toml").err


def test_json_is_json_if_all_runs_diverge(call, npz):
    shown = small(call, npz, "--lr", "1e30", "--out", "run", "--json")
    assert shown.code == 0, shown.err
    found = json.loads(shown.out, parse_constant=lambda name: pytest.fail(name))
    assert "4 of 4 runs diverged" in found["best"]["sentence"]
    # Progress is shown all the same, on standard error.
    assert "4 of 4 runs" in shown.err
