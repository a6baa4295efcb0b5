"""``proprelu doctor --tune`` shows and clears the stored choices of kernels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import proprelu
import pytest
import torch
from proprelu.train.recipe.kernels import stored_choices, tune_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PROPRELU_AUTOTUNE", "1")
    return tune_file()


def tune(size: int, *more: nn.Module) -> None:
    """Train one batch of a shape that no other test has timed in this process."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 5, 3, stride=2)
    model = nn.Sequential(first, *more, nn.Flatten(), nn.LazyLinear(2))
    images, labels = torch.randn(4, 3, size, size), torch.tensor([0, 1, 1, 0])
    model(images)
    trainer = proprelu.Trainer(model, progress=False)
    trainer.fit(DataLoader(TensorDataset(images, labels), batch_size=4), epochs=1)


def write(cache: Path, choices: list[dict[str, Any]]) -> None:
    for choice in choices:
        choice.pop("valid_here", None)
    cache.write_text(json.dumps({"version": 1, "choices": choices}))


def test_choices_are_shown_and_cleared(call: Any, cache: Path) -> None:
    assert "0 choices" in call("doctor", "--tune").out
    assert json.loads(call("doctor", "--tune", "--json").out) == []
    tune(15)
    shown = json.loads(call("doctor", "--tune", "--json").out)
    products = {choice["product"] for choice in shown if choice["geometry"]["in_size"] == [15, 15]}
    assert products == {"forward", "grad_weight"}
    for choice in shown:
        assert choice["algorithm"] in choice["candidates"]
        assert choice["machine"]["torch"] == torch.__version__
        assert choice["machine"]["threads"] == torch.get_num_threads()
        assert choice["valid_here"]
    text = call("doctor", "--tune").out.replace("\n", " ")
    assert f"{len(shown)} choices of kernels" in text
    assert "grad weight" in text
    result = call("doctor", "--tune", "--clear", "--json")
    assert json.loads(result.out) == {"cleared": len(shown)}
    assert not cache.exists()
    assert "cleared 0 choices" in call("doctor", "--tune", "--clear").out


def test_a_choice_of_another_machine_or_version_is_marked(
    call: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(16)
    monkeypatch.setenv("COLUMNS", "200")
    forward = [choice for choice in stored_choices() if choice["product"] == "forward"]
    ours = next(choice for choice in forward if choice["geometry"]["in_size"] == (16, 16))
    batch = ours["geometry"]["batch"]
    choice = {**ours, "provisional": True, "spread": 0.75}
    write(cache, [choice])
    out = call("doctor", "--tune").out
    assert "provisional" in out
    assert f"{batch}x3x16x16 -> 5, 3x3, stride 2x2 " in out  # the other settings are the defaults
    other = {**choice, "machine": {**choice["machine"], "processor": "another"}}
    write(cache, [other])
    out = call("doctor", "--tune").out
    assert "another machine or version" in out
    assert "75%" in out
    assert not stored_choices()[0]["valid_here"]


def test_what_a_norm_entails_is_timed_with_the_convolutions_around_it(
    call: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    tune(18, nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 7, 3))
    found = [
        (choice["product"], choice["geometry"]["in_channels"], choice["fusible"])
        for choice in stored_choices()
    ]
    nothing = {"load": False, "moments": False, "add": False, "activation": False}
    for expected in (
        ("forward", 3, {**nothing, "moments": True}),
        ("grad_weight", 3, nothing),
        ("forward", 5, {**nothing, "load": True}),
        ("grad_input", 5, nothing),
        ("grad_weight", 5, {**nothing, "load": True}),
        # The evaluation folds the norm into the convolution.
        ("forward", 3, {**nothing, "activation": True}),
    ):
        assert expected in found
    out = call("doctor", "--tune").out
    assert "stride 2x2, with moments " in out
    assert "7, 3x3, with the norm before " in out


def test_a_choice_is_valid_for_its_machine_and_versions_only(cache: Path) -> None:
    tune(17)
    choice = stored_choices()[0]
    assert choice["valid_here"]
    changes = {"kernels": "0", "torch": "2.0", "level": "x", "threads": 99, "features": []}
    for field, value in changes.items():
        write(cache, [{**choice, "machine": {**choice["machine"], field: value}}])
        assert [choice["valid_here"] for choice in stored_choices()] == [False], field


def test_clear_is_for_tune_only(call: Any, cache: Path) -> None:
    result = call("doctor", "--clear")
    assert result.code == 2
    assert "--tune" in result.err


def test_damaged_choices_are_not_shown(call: Any, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    for text in ("{no json", "[]", '{"version": 1, "choices": [1, {}, null]}'):
        cache.write_text(text)
        assert json.loads(call("doctor", "--tune", "--json").out) == []
    cache.unlink()
    cache.mkdir()
    assert json.loads(call("doctor", "--tune", "--json").out) == []
    assert call("doctor", "--tune", "--clear").code == 1
