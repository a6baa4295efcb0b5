"""Profiles: the numbers of a run, a table, a figure."""

from pathlib import Path

import numpy as np
import proprelu
import pytest
from proprelu.train.report.profile import Profile
from torch import nn

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def trainer() -> proprelu.Trainer:
    images = np.zeros((24, 8, 8, 1), dtype=np.uint8)
    data = proprelu.as_dataset(images, np.arange(24) % 3)
    body = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
    trainer = proprelu.Trainer(nn.Sequential(*body, nn.Linear(144, 3)), progress=False)
    trainer.fit(data, epochs=2, batch_size=8)
    return trainer


def test_every_operation_has_its_row(trainer: proprelu.Trainer) -> None:
    profile = trainer.profile()
    assert trainer.program is not None
    assert len(profile.rows) == len(trainer.program.splitlines()) - 1
    assert profile.runs == 6
    convolution = next(row for row in profile.rows if row.op == "convolution")
    assert convolution.flops == 2 * 8 * 4 * 36 * 9
    moments = 8 * 2 * 4
    assert convolution.bytes == 4 * (8 * 64 + 4 * 9 + 8 * 4 * 36) + moments
    assert convolution.milliseconds > 0
    assert convolution.floor > 0


def test_groups_contain_all_rows(trainer: proprelu.Trainer) -> None:
    profile = trainer.profile()
    groups = profile.by_kernel()
    assert sum(row.calls for row in groups) == len(profile.rows)
    assert sum(row.milliseconds for row in groups) == pytest.approx(profile.milliseconds)
    times = [row.milliseconds for row in groups]
    assert times == sorted(times, reverse=True)


def test_a_table_for_terminals_and_notebooks(trainer: proprelu.Trainer) -> None:
    profile = trainer.profile()
    head, columns, *rows = str(profile).splitlines()
    assert "mean of 6 steps" in head
    assert columns.split()[:4] == ["op", "kernel", "calls", "ms"]
    assert len(rows) == len(profile.by_kernel())
    assert profile._repr_html_().count("<tr>") == len(rows) + 1


def test_a_figure(trainer: proprelu.Trainer, tmp_path: Path) -> None:
    figure = trainer.profile().plot(tmp_path / "profile.png")
    assert (tmp_path / "profile.png").stat().st_size > 10_000
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "1 convolution" in names


def test_a_profile_needs_a_captured_step() -> None:
    with pytest.raises(RuntimeError, match="call fit with a model that is captured"):
        proprelu.Trainer(nn.Linear(2, 2), progress=False).profile()
    with pytest.raises(ValueError, match="no step was timed"):
        Profile([], 0, 0).plot()
