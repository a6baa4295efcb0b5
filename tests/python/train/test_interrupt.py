"""A training stops at once when it is interrupted, and leaves a consistent state."""

import json
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from proprelu import SGD, Trainer
from torch import nn

_SCRIPT = """
import json, sys, torch, proprelu
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
)
if sys.argv[2] == "eager":
    model.register_forward_pre_hook(lambda module, args: None if args[0].sum() > -1e9 else None)
data = (torch.zeros(64, 12, 12, dtype=torch.uint8).numpy(), (torch.arange(64) % 4).numpy())
class Tell:
    def on_fit_start(self, *_): ...
    def on_step(self, event): print("step", flush=True)
    def on_fit_end(self): print("end", flush=True)
    def on_epoch(self, row): ...
trainer = proprelu.Trainer(model, proprelu.SGD(lr=1e-3), schedule="constant", progress=False,
                           loggers=[Tell()])
mode = model.training
try:
    trainer.fit(data, epochs=10**6, batch_size=16, checkpoint=sys.argv[1])
except KeyboardInterrupt:
    print(json.dumps([len(trainer.history), model.training == mode,
                      bool(all(p.isfinite().all() for p in model.parameters()))]), flush=True)
"""


@pytest.mark.parametrize("runner", ["captured", "eager"])
def test_ctrl_c_ends_a_fit(runner: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT, str(path), runner],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "step\n"
    while not path.exists():
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - start < 5
    assert process.returncode == 0
    lines = output.split("\n")
    assert "end" in lines
    epochs, same_mode, finite = json.loads(lines[-2])
    assert epochs >= 1
    assert same_mode
    assert finite
    trainer = Trainer(_model(), progress=False)
    history = trainer.fit(
        _data(), epochs=1, batch_size=16, resume=path, override=("data", "optimizer", "schedule")
    )
    assert len(history) == epochs
    assert list(tmp_path.iterdir()) == [path]


def _data() -> tuple[Any, Any]:
    images = torch.randint(0, 256, (64, 12, 12), dtype=torch.uint8)
    return images.numpy(), (torch.arange(64) % 4).numpy()


def _model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )


class Recorder:
    """A logger that runs a function in one of its calls."""

    def __init__(self, at: str = "", action: Any = None) -> None:
        self.calls: list[str] = []
        self._at, self._action = at, action

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self._at:
            self._action()

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        self._called("start")

    def on_step(self, event: Any) -> None:
        self._called("step")

    def on_epoch(self, row: Any) -> None:
        self._called("epoch")

    def on_fit_end(self) -> None:
        self._called("end")


class BrokenLoggerError(Exception):
    pass


def _break() -> None:
    raise BrokenLoggerError("the disk of the logger is full")


@pytest.mark.parametrize("at", ["start", "step", "epoch", "end"])
def test_fit_raises_the_exception_of_a_logger(at: str) -> None:
    other, broken, last = Recorder(), Recorder(at, _break), Recorder()
    model = _model().eval()
    trainer = Trainer(model, progress=False, loggers=[other, broken, last])
    with pytest.raises(BrokenLoggerError, match="the disk of the logger is full"):
        trainer.fit(_data(), epochs=2, batch_size=16)
    assert len(trainer.history) == {"start": 0, "step": 0, "epoch": 1, "end": 2}[at]
    assert not model.training
    assert other.calls[-1] == "end"
    if at != "start":
        assert last.calls[-1] == "end"
    # The trainer is not locked afterwards.
    assert len(Trainer(model, progress=False).fit(_data(), epochs=1, batch_size=16)) == 1


@pytest.mark.parametrize("what", ["fit", "evaluate", "predict"])
def test_a_busy_trainer_refuses_a_second_call(what: str) -> None:
    actions = {
        "fit": lambda: trainer.fit(_data(), epochs=1),
        "evaluate": lambda: trainer.evaluate(_data()),
        "predict": lambda: trainer.predict(torch.zeros(2, 1, 12, 12)),
    }
    logger = Recorder("epoch", actions[what])
    trainer = Trainer(_model(), progress=False, loggers=[logger])
    with pytest.raises(RuntimeError, match="the trainer is busy") as caught:
        trainer.fit(_data(), epochs=1, batch_size=16)
    assert "\n" not in str(caught.value)
    logger._action = lambda: None
    trainer.fit(_data(), epochs=1, batch_size=16)
    trainer.evaluate(_data())


def test_fit_raises_the_exception_of_the_data() -> None:
    class Failing(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 32

        def __getitem__(self, index: int) -> Any:
            if index == 29:
                raise LookupError("the image is gone")
            return torch.zeros(1, 12, 12), 0

    trainer = Trainer(_model(), SGD(lr=0.1), progress=False)
    with pytest.raises(LookupError, match="the image is gone"):
        trainer.fit(torch.utils.data.DataLoader(Failing(), 8), epochs=1)


def test_fit_raises_the_exception_of_the_model() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(144, 4)

        def forward(self, x: torch.Tensor) -> Any:
            if x.max() > 0:
                raise LookupError("not that image")
            return self.linear(x.flatten(1))

    trainer = Trainer(Failing(), SGD(lr=0.1), progress=False)
    with pytest.raises(LookupError, match="not that image"):
        trainer.fit(
            (torch.ones(8, 1, 12, 12) * torch.arange(8).view(-1, 1, 1, 1), [0] * 8), epochs=1
        )


def test_ctrl_c_ends_a_long_step() -> None:
    """A step that takes seconds is interrupted before its end, and changes nothing."""
    layers = [nn.Conv2d(1, 32, 3, padding=1)]
    layers += [nn.Conv2d(32, 32, 3, padding=1) for _ in range(100)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
    before = [parameter.detach().clone() for parameter in model.parameters()]

    class Alarm:
        def on_fit_start(self, *_: object) -> None:
            signal.setitimer(signal.ITIMER_REAL, 0.3)

        def on_step(self, event: object) -> None: ...
        def on_epoch(self, row: object) -> None: ...
        def on_fit_end(self) -> None: ...

    def interrupt(_: int, frame: FrameType | None) -> None:
        # While the model is still captured, the exception could end in a callback of a weak
        # reference, which prints and forgets it.
        if any("_dynamo" in entry.filename for entry in traceback.extract_stack(frame)):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            raise KeyboardInterrupt

    images = torch.randint(0, 256, (16, 64, 64), dtype=torch.uint8).numpy()
    trainer = Trainer(model, progress=False, loggers=[Alarm()])
    own = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit((images, (torch.arange(16) % 4).numpy()), epochs=1, batch_size=16)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, own)
    assert all(map(torch.equal, before, model.parameters()))
