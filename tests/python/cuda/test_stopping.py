"""When a training ends early, the model is as after the last whole step."""

import copy
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import proprelu
import pytest
import torch
from cuda_trainings import arrays, assert_same, small, steps, stream, tensors, trainer
from proprelu import SGD, Augment, _core
from proprelu.graph.reading import Reading
from proprelu.train.device.device import Device
from proprelu.train.recipe.kernels import Kernels
from proprelu.train.runner import make_runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

CONSTANT: dict[str, Any] = {"schedule": "constant", "ema_decay": 0.7}
# No normalization, so that one pixel does not affect all images through the mean.
AS_THEY_ARE = Augment(mean=(0, 0, 0), std=(1, 1, 1))


def _with_nan(images: Tensor) -> Tensor:
    """Images with one in the last of four batches that is too bright for float32."""
    broken = images.clone()
    broken[29] = 3e38
    return broken


def test_a_loss_of_nan(device: Device) -> None:
    images, labels = tensors()
    ours, theirs = small(), small()
    training, other = trainer(ours, device, **CONSTANT), trainer(theirs, device, **CONSTANT)
    with pytest.raises(FloatingPointError, match=r"NaN in step 4 \(epoch 1\)") as caught:
        training.fit(stream(_with_nan(images), labels), epochs=2)
    assert "\n" not in str(caught.value)
    other.fit(stream(images[:24], labels[:24]), epochs=1)
    assert_same(ours.state_dict(), theirs.state_dict(), device)
    assert_same(training.ema_state_dict(), other.ema_state_dict(), device)
    assert len(training.history) == 0
    training.fit(stream(images, labels), epochs=1)
    assert len(training.history) == 1


class BreaksLater(Dataset[Any]):
    """Yields the NaN in the second epoch."""

    def __init__(self) -> None:
        self.images, self.labels = tensors()
        self.given = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        self.given += 1
        images = self.images if self.given <= 32 else _with_nan(self.images)
        return images[index], self.labels[index]


def test_finished_epochs_are_kept(device: Device, tmp_path: Path) -> None:
    path, data = tmp_path / "a.ckpt", stream(*tensors())
    model, resumed, other = small(), small(1), small()
    training = trainer(model, device, **CONSTANT)
    with pytest.raises(FloatingPointError, match=r"NaN in step 8 \(epoch 2\)"):
        training.fit(DataLoader(BreaksLater(), 8), epochs=5, checkpoint=path)
    assert [row["step"] for row in training.history] == [4]
    # Three steps of the second epoch were run.
    assert steps(model) == 7
    trainer(resumed, device, **CONSTANT).fit(data, epochs=1, resume=path)
    trainer(other, device, **CONSTANT).fit(data, epochs=1)
    assert_same(resumed.state_dict(), other.state_dict(), device)


def test_an_image_in_memory_with_a_nan(device: Device) -> None:
    images, labels = tensors()
    data, results = (_with_nan(images).numpy(), labels.numpy()), []
    for place in (device, "cpu"):
        model = small()
        training = trainer(model, place, **CONSTANT)
        with pytest.raises(FloatingPointError, match="NaN in step") as caught:
            training.fit(data, epochs=1, batch_size=8, augment=AS_THEY_ARE)
        results.append((str(caught.value), steps(model)))
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert results[0] == results[1]


@pytest.mark.parametrize("clip", [None, 1e25])
def test_a_learning_rate_that_is_far_too_high(device: Device, clip: float | None) -> None:
    """The model is as before the failing step, even if its values are large."""
    images, labels = tensors()
    optimizer, settings = SGD(lr=1e25), {**CONSTANT, "clip_grad_norm": clip}
    ours, theirs = small(), small()
    training = trainer(ours, device, optimizer, **settings)
    with pytest.raises(FloatingPointError, match=r"in step \d \(epoch 1\)"):
        training.fit(stream(images, labels), epochs=3)
    count = 8 * steps(ours)
    assert count > 0
    other = trainer(theirs, device, optimizer, **settings)
    other.fit(stream(images[:count], labels[:count]), epochs=1)
    assert_same(ours.state_dict(), theirs.state_dict(), device)
    assert_same(training.ema_state_dict(), other.ema_state_dict(), device)


class Counted(nn.Module):
    """Each step subtracts 1 from the parameter and adds 1 to the buffer."""

    updates: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.updates.add_(1)
        return x.mean((2, 3)) + self.weight


class Ascending(nn.Module):
    """A loss of 0 with a gradient of 1 for a weight that is added to all predictions."""

    def forward(self, predictions: Tensor, labels: Tensor) -> Tensor:
        return predictions.mean() - predictions.detach().mean()


class Watcher:
    """An observer that runs a function when a step is reported."""

    def __init__(self, at_step: Callable[[int], None]) -> None:
        self._at_step = at_step
        self._reports = 0

    def on_epoch_start(self, epoch: int) -> None: ...

    def on_step(self, event: Mapping[str, Any]) -> None:
        self._reports += 1
        assert event["step"] >= self._reports
        self._at_step(self._reports)

    def on_epoch(self, row: Mapping[str, Any]) -> None: ...


def _endless(device: Device, watcher: Watcher) -> tuple[_core.TrainState, Counted]:
    """Run a training until the watcher ends it."""
    model = Counted()
    runner = make_runner(
        model,
        Ascending(),
        torch.zeros(8, 3, 8, 8),
        [torch.zeros(8, dtype=torch.int64)],
        Reading(),
        training=True,
        kernels=Kernels(),
        bf16=False,
        device=device.kernels,
    )
    dataset = proprelu.as_dataset(arrays(40))
    assert isinstance(dataset, _core.Dataset)
    loader = _core.Loader(dataset, 8, shuffle=True, drop_last=True)
    model.to(device.device)
    settings = SGD(1.0, momentum=0.0, weight_decay=0.0).settings()
    state = _core.TrainState(
        [("weight", model.weight.detach(), settings)], [("updates", model.updates)]
    )
    with device.active(), pytest.raises(KeyboardInterrupt):
        state.fit(
            runner,
            loader,
            None,
            watcher,
            epochs=10**6,
            schedule={"name": "constant"},
            graphs=device.graphs(),
        )
    return state, model


def _raise(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _alarm() -> Iterator[Callable[[float], object]]:
    """A timer that raises KeyboardInterrupt like Ctrl-C."""
    before = signal.signal(signal.SIGALRM, _raise)
    try:
        yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _assert_counted(state: _core.TrainState, model: Counted) -> None:
    assert state.step == -model.weight.item() == model.updates.item() > 0
    assert state.epoch in (state.step // 5, (state.step - 1) // 5)


@pytest.mark.parametrize("report", [1, 3])
def test_ctrl_c_while_a_step_is_reported(device: Device, report: int) -> None:
    def at_step(reports: int) -> None:
        if reports == report:
            raise KeyboardInterrupt

    _assert_counted(*_endless(device, Watcher(at_step)))


@pytest.mark.parametrize("seconds", [0.01, 0.25])
def test_ctrl_c_at_any_moment(device: Device, seconds: float) -> None:
    with _alarm() as alarm:

        def at_step(reports: int) -> None:
            if reports == 1:
                alarm(seconds)

        _assert_counted(*_endless(device, Watcher(at_step)))


class BrokenLoggerError(Exception):
    pass


class Broken:
    """A logger that raises in one of its methods."""

    def __init__(self, at: str) -> None:
        self._at = at

    def _called(self, name: str) -> None:
        if name == self._at:
            raise BrokenLoggerError("the disk is full")

    def on_fit_start(self, total_epochs: int, steps_per_epoch: int) -> None:
        self._called("start")

    def on_step(self, event: Any) -> None:
        self._called("step")

    def on_epoch(self, row: Any) -> None:
        self._called("epoch")

    def on_fit_end(self) -> None: ...


@pytest.mark.parametrize("at", ["start", "step", "epoch"])
def test_a_broken_logger(device: Device, at: str) -> None:
    model = small().eval()
    training = trainer(model, device, loggers=[Broken(at)], **CONSTANT)
    with pytest.raises(BrokenLoggerError, match="the disk is full"):
        training.fit(arrays(), epochs=2, batch_size=8)
    finished = 1 if at == "epoch" else 0
    assert len(training.history) == finished
    assert steps(model) == {"start": 0, "step": 1, "epoch": 4}[at]
    assert not model.training
    _goes_on(model, device)


def test_data_that_break(device: Device) -> None:
    class Gone(Dataset[Any]):
        def __len__(self) -> int:
            return 32

        def __getitem__(self, index: int) -> Any:
            if index == 29:
                raise LookupError("the image is gone")
            return torch.zeros(3, 8, 8), 0

    model = small()
    with pytest.raises(LookupError, match="the image is gone"):
        trainer(model, device, **CONSTANT).fit(DataLoader(Gone(), 8), epochs=1)
    assert steps(model) == 3
    _goes_on(model, device)


def _goes_on(model: nn.Module, device: Device) -> None:
    """Assert that the model trains further like a new model with the same weights."""
    other = copy.deepcopy(model)
    for each in (model, other):
        trainer(each, device, **CONSTANT).fit(arrays(), epochs=1, batch_size=8)
    assert_same(model.state_dict(), other.state_dict(), device)
