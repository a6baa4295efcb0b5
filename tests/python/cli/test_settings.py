"""Settings: from TOML and back, with one line for each mistake."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from proprelu.atomic import write_text
from proprelu.cli.settings import (
    Settings,
    SettingsError,
    SweepSettings,
    new_folder,
    read_settings,
)

# Any text, and texts that a careless writer of TOML gets wrong.
HOSTILE = ['a "b" \\ ä', "\N{GRINNING FACE}", "\x7f", "\r\n", "\0", "'''", '""' + '"\\', "${x} #"]
TEXTS = st.text() | st.sampled_from(HOSTILE)
NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)


@hypothesis.settings(deadline=None)
@hypothesis.given(
    st.builds(
        Settings,
        model=TEXTS,
        data=TEXTS,
        ratio=TEXTS,
        placement=TEXTS,
        epochs=st.integers(1),
        lr=st.none() | NUMBERS,
        weight_decay=NUMBERS,
        augment=st.booleans(),
        device=TEXTS,
        threads=st.none() | st.integers(1),
        seed=st.integers(0, 2**64 - 1),
        out=st.none() | TEXTS,
    )
)
def test_toml_round_trip(settings):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "settings.toml")
        write_text(path, settings.to_toml())
        assert Settings().with_changes(read_settings(path)) == settings


def test_those_of_a_sweep_are_checked_likewise(tmp_path):
    settings = SweepSettings(ratios="1:1,2:1", seeds=3, budget=None, target=0.5)
    path = tmp_path / "settings.toml"
    write_text(path, settings.to_toml())
    assert SweepSettings().with_changes(read_settings(path)) == settings
    with pytest.raises(SettingsError, match="seeds must be at least 1, got 0"):
        SweepSettings(seeds=0)
    with pytest.raises(SettingsError, match='unknown key "ratio"; did you mean "ratios"'):
        SweepSettings().with_changes({"ratio": "2:1"}, "a.toml")


def test_a_path_that_is_not_utf8_is_refused():
    with pytest.raises(SettingsError, match="out must be valid UTF-8, got"):
        Settings(out=os.fsdecode(b"caf\xe9"))


def test_whole_numbers_are_accepted_for_floats():
    assert Settings(lr=1).lr == 1.0
    assert Settings(lr=1) == Settings(lr=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", 'unknown key "epoch"; did you mean "epochs"?'),
        ("zebra = 3", 'unknown key "zebra"; known are model, data'),
        ('epochs = "ten"', "epochs must be a whole number, got 'ten'"),
        ("epochs = true", "epochs must be a whole number, got True"),
        ("epochs = 2.5", "epochs must be a whole number, got 2.5"),
        ("lr = 'big'", "lr must be a number, got 'big'"),
        ("augment = 1", "augment must be true or false, got 1"),
        ("model = 20", "model must be a text, got 20"),
        ("optimizer = 'adam'", 'optimizer must be one of sgd, adamw, got "adam"'),
        ("precision = 'fp16'", 'precision must be one of fp32, bf16, got "fp16"'),
        ("epochs = 0", "must be at least 1"),
        ("epochs = ", "expected TOML: "),
    ],
)
def test_a_mistake_is_one_line_with_the_name_of_the_file(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        Settings().with_changes(read_settings(path), str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_default_learning_rate_depends_on_the_optimizer():
    assert Settings().base_lr == 0.1
    assert Settings(optimizer="adamw").base_lr == 1e-3
    assert Settings(optimizer="adamw", lr=0.5).base_lr == 0.5


def test_a_new_folder_does_not_exist_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings(ratio="3:2")
    folders = []
    for _ in range(3):
        folders.append(new_folder(settings, settings.ratio))
        folders[-1].mkdir(parents=True)
    name = "resnet20-3x2-fashion-mnist-small"
    assert [folder.name for folder in folders] == [name, f"{name}-2", f"{name}-3"]
