"""A checkpoint continues a training bit for bit, or is refused without changing anything."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import proprelu
import pytest
import torch
from proprelu import SGD, AdamW, Augment, Trainer
from proprelu._core import TrainState
from torch import Tensor, nn


def _data(count: int = 48) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (count, 8, 8, 3), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (count,), generator=generator)
    return images.numpy(), labels.numpy()


def _model(seed: int, width: int = 6) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Conv2d(width, width, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 4),
    )


CASES: dict[str, dict[str, Any]] = {
    "momentum": {"optimizer": SGD(lr=0.05, nesterov=True)},
    "plain": {"optimizer": SGD(lr=0.05, momentum=0.0)},
    "adamw": {"optimizer": AdamW(lr=1e-2)},
    "ema": {"optimizer": SGD(lr=0.05), "ema_decay": 0.9, "clip_grad_norm": 1.0},
    "bf16": {"optimizer": AdamW(lr=1e-2), "precision": "bf16"},
    "one_cycle": {"optimizer": SGD(lr=0.05), "schedule": proprelu.OneCycle()},
}


def _fit(model: nn.Module, settings: dict[str, Any], epochs: int = 3, **options: Any) -> Trainer:
    trainer = Trainer(model, progress=False, seed=7, **settings)
    augment = Augment(flip=True, pad=1)
    trainer.fit(_data(), _data(20), epochs=epochs, batch_size=16, augment=augment, **options)
    return trainer


def _stop_after(epoch: int) -> Any:
    """A logger that stops a training after an epoch."""

    class Stop:
        def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None: ...
        def on_step(self, event: Any) -> None: ...
        def on_fit_end(self) -> None: ...
        def on_epoch(self, row: Any) -> None:
            if row["epoch"] == epoch:
                raise InterruptedError

    return Stop()


def _same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def _measures(trainer: Trainer) -> list[dict[str, Any]]:
    timing = ("seconds", "images_per_s")
    return [{k: v for k, v in row.items() if k not in timing} for row in trainer.history]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stop", [1, 2])
def test_resumes_bit_for_bit(case: str, stop: int, tmp_path: Path) -> None:
    settings, path = CASES[case], tmp_path / "deep" / "er.ckpt"
    whole = _model(0)
    full = _fit(whole, settings)
    with pytest.raises(InterruptedError):
        _fit(_model(0), {**settings, "loggers": [_stop_after(stop)]}, checkpoint=path)
    resumed = _model(1)
    trainer = _fit(resumed, settings, resume=path, checkpoint=path)
    assert _same(resumed.state_dict(), whole.state_dict())
    assert _same(trainer.ema_state_dict(), full.ema_state_dict())
    assert _measures(trainer) == _measures(full)
    assert list(path.parent.iterdir()) == [path]
    assert os.stat(path).st_size < 100_000


def test_a_finished_training_has_nothing_to_resume(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    model = _model(0)
    first = _fit(model, CASES["momentum"], checkpoint=path)
    again = _model(1)
    second = _fit(again, CASES["momentum"], resume=path)
    assert _same(again.state_dict(), model.state_dict())
    assert _measures(second) == _measures(first)


def _refused(path: Path, settings: dict[str, Any], width: int = 6) -> str:
    model = _model(3, width)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match="checkpoint") as caught:
        _fit(model, settings, resume=path)
    assert _same(model.state_dict(), before)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "a.ckpt"
    _fit(_model(0), CASES["momentum"], epochs=1, checkpoint=path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.002, 0.3, 0.7, 0.9, 0.99])
def test_refuses_a_file_cut_short(checkpoint: Path, share: float, tmp_path: Path) -> None:
    content = checkpoint.read_bytes()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in _refused(path, CASES["momentum"])


def test_refuses_other_files(tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(random.Random(0).randbytes(5000))
    weights = tmp_path / "weights.safetensors"
    proprelu.save_weights(_model(0), weights)
    for path in (noise, weights):
        assert "damaged or no checkpoint" in _refused(path, CASES["momentum"])


def test_refuses_a_checkpoint_of_something_else(checkpoint: Path, tmp_path: Path) -> None:
    averaged = tmp_path / "ema.ckpt"
    _fit(_model(0), CASES["ema"], epochs=1, checkpoint=averaged)
    for path, case, width, words in [
        (checkpoint, "momentum", 8, "another model or optimizer"),
        (checkpoint, "adamw", 6, "another optimizer"),
        (checkpoint, "plain", 6, "another optimizer"),
        (checkpoint, "ema", 6, "another optimizer"),
        (averaged, "momentum", 6, "another optimizer"),
    ]:
        assert words in _refused(path, CASES[case], width)


@pytest.mark.parametrize("name", ["absent.ckpt", "."])
def test_a_file_that_cannot_be_read_raises_an_os_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot read") as caught:
        _fit(_model(0), CASES["momentum"], resume=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_path_that_cannot_be_written_raises_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        _fit(_model(0), CASES["momentum"], checkpoint=tmp_path / "file" / "a.ckpt")


def test_counters_are_restored_exactly(checkpoint: Path) -> None:
    model = _model(0)
    named = [(name, p.detach(), SGD().settings()) for name, p in model.named_parameters()]
    state = TrainState(named, [(name, b) for name, b in model.named_buffers()])
    state.load(checkpoint)
    assert (state.step, state.epoch) == (3, 1)
    copy = checkpoint.with_suffix(".copy")
    state.save(copy)
    again = TrainState(named, [(name, b) for name, b in model.named_buffers()])
    again.load(copy)
    assert again.rows() == state.rows()
    copy.unlink()


_ENDLESS = """
import sys, torch, proprelu
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
)
data = (torch.zeros(32, 8, 8, 3, dtype=torch.uint8).numpy(), (torch.arange(32) % 4).numpy())
class Tell:
    def on_fit_start(self, *_): ...
    def on_step(self, _): ...
    def on_fit_end(self): ...
    def on_epoch(self, row): print(row["epoch"], flush=True)
proprelu.Trainer(model, progress=False, loggers=[Tell()], schedule="constant").fit(
    data, epochs=10**6, batch_size=16, checkpoint=sys.argv[1]
)
"""


@pytest.mark.slow
def test_a_checkpoint_is_whole_after_a_kill_at_any_moment(tmp_path: Path) -> None:
    path, chance = tmp_path / "a.ckpt", random.Random(1)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", _ENDLESS, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        told = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
        )
        named = [(name, p.detach(), SGD().settings()) for name, p in model.named_parameters()]
        state = TrainState(named, [])
        state.load(path)
        # An epoch is reported after its checkpoint is written.
        last = int(told[-1]) if told else 1
        assert state.epoch in (last, last + 1)
        assert state.step == 2 * state.epoch
