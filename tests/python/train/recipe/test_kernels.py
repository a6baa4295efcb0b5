"""Selection of kernels: all train alike, and the results of autotuning are stored."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import proprelu
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

ALGORITHMS = ["auto", "direct", "winograd", "torch"]

# Prints the kernels of convolutions in bf16, for each setting.
TRAIN = """
import json, proprelu, torch
from torch import nn
torch.set_num_threads(1)
found = {}
for algorithm in ("winograd", "direct"):
    layers = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2), nn.Flatten(), nn.LazyLinear(2)
    model = nn.Sequential(*layers)
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])
    model(images)
    trainer = proprelu.Trainer(
        model, precision="bf16", conv_algorithm=algorithm, progress=False
    )
    trainer.fit((images, labels), epochs=1, batch_size=4)
    lines = [line.split() for line in trainer.program.splitlines()[1:]]
    found[algorithm] = sorted({line[2] for line in lines if "convolution" in line[1]})
print(json.dumps(found))
"""


class Network(nn.Module):
    """A stem, strides, groups, depthwise and 1x1, so that every kernel is used."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 40, 3, padding=1),
            nn.BatchNorm2d(40),
            nn.ReLU(),
            nn.Conv2d(40, 36, 3, padding=1, bias=False),
            nn.BatchNorm2d(36),
            nn.Conv2d(36, 36, 3, stride=2, padding=1, groups=36, bias=False),
            nn.BatchNorm2d(36),
            nn.ReLU(),
            nn.Conv2d(36, 24, 1, bias=False),
            nn.Conv2d(24, 8, 5, padding=4, dilation=2, groups=2),
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


def _loader() -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(24, 3, 11, 9, generator=generator)
    labels = torch.randint(5, (24,), generator=generator)
    return DataLoader(TensorDataset(images, labels), batch_size=6)


def _trained(
    model: nn.Module, algorithm: str, precision: str = "fp32", **settings: object
) -> proprelu.Trainer:
    trainer = proprelu.Trainer(
        model,
        torch.optim.SGD(model.parameters(), lr=0.01),
        schedule="constant",
        precision=precision,
        conv_algorithm=algorithm,
        progress=False,
        **settings,
    )
    trainer.fit(_loader(), epochs=1)
    return trainer


def _kernels(trainer: proprelu.Trainer) -> set[tuple[str, str]]:
    """The operations of the program with their kernels."""
    assert trainer.program is not None
    lines = trainer.program.splitlines()[1:]
    return {(line.split()[1], line.split()[2]) for line in lines}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_choice_trains_alike(algorithm: str) -> None:
    torch.manual_seed(0)
    model = Network()
    exact = copy.deepcopy(model).double()
    optimizer = torch.optim.SGD(exact.parameters(), lr=0.01)
    for images, labels in _loader():
        optimizer.zero_grad()
        nn.functional.cross_entropy(exact(images.double()), labels).backward()
        optimizer.step()
    _trained(model, algorithm)
    for name, value in exact.state_dict().items():
        error = (model.state_dict()[name].double() - value.double()).norm()
        assert error <= 1e-4 * value.double().norm() + 1e-6, name


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_choice_trains_alike_in_bf16(algorithm: str) -> None:
    torch.manual_seed(0)
    model = Network()
    reference = _trained(copy.deepcopy(model), "torch", "bf16").history[-1]["train_loss"]
    trained = _trained(model, algorithm, "bf16").history[-1]["train_loss"]
    assert trained == pytest.approx(reference, rel=0.02)


def test_the_program_lists_the_kernels() -> None:
    kernels = _kernels(_trained(Network(), "direct"))
    for product in ("convolution", "convolution_grad_weight", "convolution_grad_input"):
        # Grouped convolutions that are not depthwise run on torch's kernel.
        assert {kernel for op, kernel in kernels if op == product} == {
            "direct",
            "depthwise",
            "torch",
        }
    # It applies the batch norm before it while loading.
    assert ("load_convolution", "winograd") in _kernels(_trained(Network(), "winograd"))
    ours = {"direct", "winograd", "depthwise"}
    assert not ours & {kernel for _, kernel in _kernels(_trained(Network(), "torch"))}


def test_bf16_is_multiplied_as_fp32_where_there_is_no_instruction_for_it() -> None:
    environment = {**os.environ, "PROPRELU_CPU": "avx2"}
    command = [sys.executable, "-c", TRAIN]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    found = json.loads(run.stdout)
    assert set(found["winograd"]) == {"winograd-f32", "direct-f32"}
    assert found["direct"] == ["direct-f32"]


def test_changes_of_weights_between_fits_take_effect() -> None:
    torch.manual_seed(0)
    model = Network()
    trainer = _trained(model, "direct", "bf16")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert trainer.predict(torch.randn(3, 3, 11, 9)).abs().max() == 0
    assert trainer.evaluate(_loader())["loss"] == pytest.approx(torch.tensor(5.0).log().item())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROPRELU_AUTOTUNE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "proprelu" / "kernels.json"


def _tuned(size: int) -> proprelu.Trainer:
    """Train on images of a size that no other test uses: a process times each shape once."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.LazyLinear(2))
    images, labels = torch.randn(4, 3, size, size), torch.tensor([0, 1, 1, 0])
    model(images)
    trainer = proprelu.Trainer(model, progress=False)
    trainer.fit(DataLoader(TensorDataset(images, labels), batch_size=4), epochs=1)
    return trainer


def test_the_fastest_kernels_are_stored(cache: Path) -> None:
    _trained(Network(), "auto")
    choices = json.loads(cache.read_text())["choices"]
    assert {"forward", "grad_input", "grad_weight"} <= {choice["product"] for choice in choices}
    for choice in choices:
        assert choice["algorithm"] in choice["candidates"]
        assert len(choice["seconds"]) == len(choice["candidates"])


def test_a_damaged_cache_is_ignored(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("{no json")
    _trained(Network(), "auto", "bf16")
    cache.unlink(missing_ok=True)
    cache.parent.rmdir()
    cache.parent.write_text("a file where the folder should be")
    _trained(Network(), "winograd", "bf16")


def test_a_choice_that_cannot_compute_the_shape_is_ignored(cache: Path) -> None:
    _tuned(19)
    contents = json.loads(cache.read_text())
    for choice in contents["choices"]:
        choice["geometry"]["in_size"] = [20, 20]
        choice["algorithm"] = "winograd"  # no candidate for a stride of 2
    cache.write_text(json.dumps(contents))
    assert not {kernel for _, kernel in _kernels(_tuned(20))} & {"winograd"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_or_a_folder_in_place_of_the_cache_is_ignored(cache: Path) -> None:
    cache.parent.mkdir()
    os.mkfifo(cache)
    _tuned(21)
    cache.unlink()
    cache.mkdir()
    _tuned(22)


def test_autotuning_can_be_turned_off(cache: Path) -> None:
    _trained(Network(), "auto", autotune=False)
    assert not cache.exists()


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"conv_algorithm must be one of 'auto'.*got 'fft'"):
        proprelu.Trainer(Network(), conv_algorithm="fft")
