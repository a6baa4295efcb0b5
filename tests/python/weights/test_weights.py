"""Files of weights record the conversion, and load into no other model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import proprelu
import pytest
import safetensors
import safetensors.torch
import torch
from proprelu import Trainer, convert, load, load_weights, ratio_of, save_weights
from torch import Tensor, nn


def _net(seed: int = 0, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 3, padding=1), act(), nn.Conv2d(4, 4, 3, padding=1), act()]
    layers += [nn.Conv2d(4, 4, 3, padding=1), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4, 3))


def _images() -> Tensor:
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def _notes(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, "pt") as file:
        notes: dict[str, Any] = json.loads(file.metadata()["proprelu.weights"])
    return notes


@pytest.mark.parametrize("ratio", ["1:1", "2:1", "3:1"])
@pytest.mark.parametrize("start", ["1:1", "3:2"])
def test_load_converts_as_the_file_says(ratio: str, start: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    saved = convert(_net(0), ratio, "first")
    save_weights(saved, path, ratio=ratio)
    model = convert(_net(1), start)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = load(path, model)
    assert torch.equal(loaded(_images()), saved(_images()))
    assert str(ratio_of(loaded)) == str(ratio_of(saved))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_of_another_ratio_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(convert(_net(), "3:1"), path)
    model = _net(1)
    before = model(_images())
    with pytest.raises(ValueError, match=r"of ratio 3:1, got a model of ratio 3:3.*proprelu\.load"):
        load_weights(model, path)
    with pytest.raises(ValueError, match=r"of ratio 3:1.*of ratio 3:1, with others dropped"):
        load_weights(convert(model, "3:1", "first"), path)
    assert torch.equal(model(_images()), before)
    same = convert(model, "3:1")
    load_weights(same, path)
    assert torch.equal(same(_images()), convert(_net(), "3:1")(_images()))


def test_other_kinds_of_activations_are_recorded_too(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    saved = convert(_net(0, nn.SiLU), "3:1", activations=("silu",))
    save_weights(saved, path)
    with pytest.raises(ValueError, match="of ratio 3:1"):
        load_weights(_net(1, nn.SiLU), path)
    assert torch.equal(load(path, _net(1, nn.SiLU))(_images()), saved(_images()))


def test_the_header_has_plan_class_and_versions(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    model = convert(_net(), "2:1")
    save_weights(model, path, {"more": "texts"}, ratio="2:1")
    notes = _notes(path)
    assert notes["asked"] == "2:1"
    assert notes["plan"] == {"ratio": "3:2", "sites": 3, "dropped": ["1"]}
    assert notes["class"] == type(model).__name__
    assert notes["torch"] == torch.__version__
    assert notes["proprelu"] == proprelu.__version__
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["more"] == "texts"
    plain = safetensors.torch.load_file(path)
    assert all(torch.equal(plain[name], tensor) for name, tensor in model.state_dict().items())


def test_files_of_other_programs_load_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for metadata in (None, {"format": "pt"}, {"proprelu": "{}"}):
        safetensors.torch.save_file(_net(0).state_dict(), path, metadata)
        model = _net(1)
        load_weights(model, path)
        assert torch.equal(model(_images()), _net(0)(_images()))
        assert torch.equal(load(path, _net(1))(_images()), _net(0)(_images()))


def test_a_model_that_cannot_be_traced_has_no_plan(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(nn.LSTM(3, 4), path)
    assert _notes(path)["plan"] is None
    load_weights(nn.LSTM(3, 4), path)


class Tied(nn.Module):
    """Two names for one weight, and a buffer that is not saved."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.a, self.b, self.f = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.Linear(3, 4)
        self.b.weight = self.a.weight
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x).relu()).relu().mean((2, 3)) * self.scale
        return self.f(x)


@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_tied_weights_are_averaged_under_every_name(tmp_path: Path) -> None:
    images, labels = torch.randn(32, 3, 8, 8), torch.arange(32) % 4
    trainer = Trainer(Tied(0), proprelu.SGD(lr=0.5), ema_decay=0.9, progress=False)
    path, checkpoint = tmp_path / "a.safetensors", tmp_path / "a.ckpt"
    trainer.fit((images, labels), epochs=2, batch_size=8, checkpoint=checkpoint)
    state = trainer.ema_state_dict()
    assert torch.equal(state["a.weight"], state["b.weight"])
    assert not torch.equal(state["a.weight"], trainer.model.a.weight)
    trainer.save_weights(path)
    averaged, plain = Tied(1), Tied(2)
    load_weights(averaged, path)
    torch.testing.assert_close(averaged.eval()(images), trainer.predict(images, normalize=False))
    load_weights(plain, checkpoint)
    assert torch.equal(plain.eval()(images), trainer.model.eval()(images))
    assert plain.b.weight is plain.a.weight


def test_a_checkpoint_gives_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    model = convert(_net(), "3:1")
    images, labels = torch.randn(16, 3, 8, 8), torch.arange(16) % 3
    Trainer(model, progress=False, ema_decay=0.5).fit(
        (images, labels), epochs=1, checkpoint=path, batch_size=8
    )
    assert torch.equal(load(path, _net(1))(images), model(images))
    with pytest.raises(ValueError, match="of ratio 3:1, got a model of ratio 3:3"):
        load_weights(_net(1), path)


@pytest.mark.parametrize("name", ["a.pt", "a.PTH", "a.bin"])
def test_names_of_torch_save_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.safetensors, got"):
        save_weights(_net(), tmp_path / name)


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    torch.save(_net().state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"was written by torch\.save") as caught:
        load_weights(_net(), tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)
    os.mkfifo(tmp_path / "pipe")
    for place, why in (("", "Is a directory"), ("pipe", "it is not a regular file")):
        with pytest.raises(OSError, match=why):
            load_weights(_net(), tmp_path / place)
    with pytest.raises(FileNotFoundError):
        load_weights(_net(), tmp_path / "absent")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_names_with_the_prefix_of_a_wrapper_are_refused_by_it(tmp_path: Path, prefix: str) -> None:
    path, model = tmp_path / "a.safetensors", _net(0)
    save_weights({prefix + name: tensor for name, tensor in model.state_dict().items()}, path)
    with pytest.raises(ValueError, match=f"got '{prefix}' before those of the file"):
        load_weights(model, path)
    save_weights(model, path)
    with pytest.raises(ValueError, match=r"got 'module\.' before those of the model"):
        load_weights(nn.DataParallel(model), path)


def test_a_mismatch_names_the_tensor_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    state = _net(0).state_dict()
    for name, changed in [
        ("0.weight", torch.zeros(4, 3, 5, 5)),
        ("0.bias", torch.zeros(4).long()),
        ("8.bias", None),
        ("9.bias", torch.zeros(1)),
        ("loss.bias", torch.zeros(1)),
    ]:
        others = {key: tensor for key, tensor in state.items() if key != name}
        save_weights(others if changed is None else {**others, name: changed}, path)
        model = _net(1)
        with pytest.raises(ValueError, match=f"belongs to another model: {name} is"):
            load_weights(model, path)
        assert torch.equal(model(_images()), _net(1)(_images()))
