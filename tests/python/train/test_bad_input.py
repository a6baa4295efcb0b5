"""Errors are one line: what was expected, what came, what to do."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from proprelu import SGD, AdamW, CrossEntropy, OneCycle, Step, Trainer
from proprelu._core import EngineRunner, TrainState
from proprelu.graph.fallback import call_operation
from proprelu.graph.joint import capture_inference, capture_step
from proprelu.graph.step import StepModule
from proprelu.train.recipe.schedules import Constant, Cosine
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, Dataset, TensorDataset


def _model(outputs: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, outputs),
    )


def _data(count: int = 16, size: int = 8, classes: int = 4) -> tuple[Any, Any]:
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return images, np.arange(count) % classes


def _loader(count: int = 16, size: int = 8, classes: int = 4) -> DataLoader[Any]:
    images = torch.randn(count, 3, size, size)
    return DataLoader(TensorDataset(images, torch.arange(count) % classes), 8)


def _fails(kind: type[BaseException], words: str, action: Callable[[], Any]) -> None:
    with pytest.raises(kind) as caught:
        action()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in message
    assert re.search(words, message), message


def _new(**settings: Any) -> Callable[[], Any]:
    return lambda: Trainer(_model(), progress=False, **settings)


def _fit(data: Any, settings: dict[str, Any] | None = None, **options: Any) -> Callable[[], Any]:
    options = {"epochs": 1, "batch_size": 8, **options}
    return lambda: Trainer(_model(), progress=False, **(settings or {})).fit(data, **options)


class Exploding(nn.Module):
    """Its loss is NaN from the fourth call on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.model = _model()

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.calls.add_(1)
        return self.model(x) / (self.calls < 4)


class ExplodingEager(Exploding):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) if x.sum() > -1e9 else None


@pytest.mark.parametrize("kind", [Exploding, ExplodingEager])
@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_a_loss_of_nan_stops_the_training(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, path = kind(), tmp_path / "a.ckpt"
    trainer = Trainer(model, SGD(lr=0.01), progress=False)

    def action() -> None:
        trainer.fit(_data(24), epochs=3, batch_size=8, checkpoint=path)

    words = r"the loss became (inf|NaN|nan) in step 4 \(epoch 2\).*lower learning rate"
    _fails(FloatingPointError, words, action)
    assert len(trainer.history) == 1
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    # The checkpoint is that of the previous epoch, and so is the model: step 4 is the first of two.
    state = TrainState(
        [(name, p.detach().clone(), SGD().settings()) for name, p in model.named_parameters()],
        [(name, b.clone()) for name, b in model.named_buffers()],
    )
    state.load(path)
    assert (state.epoch, state.step) == (1, 3)
    copied = tmp_path / "b.ckpt"
    Trainer(model, SGD(lr=0.01), progress=False).fit(
        _data(24), epochs=1, batch_size=8, resume=path, checkpoint=copied
    )
    assert model.calls == 3


CONSTRUCTION: list[tuple[type[BaseException], str, Callable[[], Any]]] = [
    (ValueError, "must be an nn.Module, got int", lambda: Trainer(3)),
    (ValueError, "must not be wrapped.*model.module", lambda: Trainer(nn.DataParallel(_model()))),
    (
        ValueError,
        r"no parameter that requires a gradient.*requires_grad_\(True\)",
        lambda: Trainer(_model().requires_grad_(False)),
    ),
    (ValueError, "no parameter that requires a gradient", lambda: Trainer(nn.ReLU())),
    (ValueError, r"float32, got torch.float16.*model.float\(\)", lambda: Trainer(_model().half())),
    (ValueError, "float32, got torch.float64", lambda: Trainer(_model().double())),
    (
        ValueError,
        'none for 0.weight, which is on the device "meta"; build it on the CPU',
        lambda: Trainer(_model().to("meta")),
    ),
    (ValueError, '"fp32" or "bf16", got \'fp16\'', _new(precision="fp16")),
    (ValueError, '"fp32" or "bf16", got None', _new(precision=None)),
    (ValueError, "device must be", _new(device="tpu")),
    (ValueError, "device must be", _new(device=0)),
    (ValueError, "'sgd' or 'adamw', got 'lion'", _new(optimizer="lion")),
    (ValueError, "optimizer must be .* got type", _new(optimizer=SGD)),
    (ValueError, "schedule must be .* got 'linear'", _new(schedule="linear")),
    (ValueError, "schedule must be .* got int", _new(schedule=3)),
    (ValueError, "'cross_entropy' or an nn.Module, got 'mse'", _new(loss="mse")),
    (ValueError, "'cross_entropy' or an nn.Module, got function", _new(loss=lambda p, t: p)),
    (ValueError, "label_smoothing must be between 0 and 1, got 2", lambda: CrossEntropy(2)),
    (ValueError, "ema_decay must be between 0 and 1, got 1.5", _new(ema_decay=1.5)),
    (ValueError, "ema_decay must be between 0 and 1, got nan", _new(ema_decay=float("nan"))),
    (ValueError, "clip_grad_norm must be a number above 0, got 0", _new(clip_grad_norm=0)),
    (ValueError, "clip_grad_norm must be a number above 0, got True", _new(clip_grad_norm=True)),
    (ValueError, "seed must be a whole number >= 0.*got -1", _new(seed=-1)),
    (ValueError, "seed must be .*got 1.5", _new(seed=1.5)),
    (ValueError, "lr must be a finite number >= 0, got -0.1", _new(optimizer=SGD(lr=-0.1))),
    (ValueError, "lr must be a finite number, got nan", _new(optimizer=SGD(lr=float("nan")))),
    (ValueError, "lr must be a finite number, got '1'", _new(optimizer=SGD(lr="1"))),
    (ValueError, "momentum must be .*got -1", _new(optimizer=SGD(momentum=-1.0))),
    (ValueError, "weight_decay must be .*got -1", _new(optimizer=SGD(weight_decay=-1.0))),
    (ValueError, "nesterov needs momentum", _new(optimizer=SGD(momentum=0.0, nesterov=True))),
    (ValueError, "beta1 must be at least 0 and less than 1", _new(optimizer=AdamW(betas=(1, 0)))),
    (ValueError, "eps must be .*got -1", _new(optimizer=AdamW(eps=-1.0))),
]


@pytest.mark.parametrize(("kind", "words", "action"), CONSTRUCTION)
def test_construction(kind: type[BaseException], words: str, action: Callable[[], Any]) -> None:
    _fails(kind, words, action)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_missing_device() -> None:
    _fails(RuntimeError, 'torch finds no CUDA device; use device="cpu"', _new(device="cuda"))


def test_a_distributed_model(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(_model())
        words = "must not be wrapped, got DistributedDataParallel; pass model.module"
        _fails(ValueError, words, lambda: Trainer(wrapped))
        Trainer(wrapped.module, progress=False)
    finally:
        torch.distributed.destroy_process_group()


def _other(model: nn.Module) -> list[Tensor]:
    return list(copy.deepcopy(model).parameters())


TORCH_OPTIMIZERS: list[tuple[str, Callable[[nn.Module], torch.optim.Optimizer]]] = [
    ("that is not the model's", lambda m: torch.optim.SGD(_other(m), lr=0.1)),
    (
        "lacks 5 of the model's parameters, first 0.bias",
        lambda m: torch.optim.SGD([m[0].weight], lr=0.1),
    ),
    ("amsgrad=True is not supported", lambda m: torch.optim.AdamW(m.parameters(), amsgrad=True)),
    ("SGD or AdamW, got Adam;", lambda m: torch.optim.Adam(m.parameters())),
    ("SGD or AdamW, got RMSprop;", lambda m: torch.optim.RMSprop(m.parameters())),
]


@pytest.mark.parametrize(("words", "make"), TORCH_OPTIMIZERS)
def test_torch_optimizers(words: str, make: Callable[[nn.Module], torch.optim.Optimizer]) -> None:
    model = _model()
    optimizer = make(model)
    _fails(ValueError, words, lambda: Trainer(model, optimizer, progress=False))


class OfSizes(Dataset[Any]):
    """Images with sizes that differ within batches of eight."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        size = 8 if index < 3 else 10
        return torch.zeros(3, size, size), 0


def _far_label() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(16, 3, 8, 8), torch.arange(16) // 3), 8)


class OnlyFor8(nn.Module):
    """A forward with the size of a batch written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = _model()

    def forward(self, x: Tensor) -> Any:
        return self.model(x + torch.ones(8, 1, 1, 1))


def _segments() -> tuple[Tensor, Tensor]:
    masks = torch.randint(4, (16, 8, 8))
    masks[:, 0] = 255
    return torch.randn(16, 3, 8, 8), masks


def _fit_model(model: nn.Module, data: Any, **settings: Any) -> Callable[[], Any]:
    trainer = Trainer(model, progress=False, autotune=False, **settings)
    return lambda: trainer.fit(data, epochs=1, batch_size=8)


FITS: list[tuple[type[BaseException], str, Callable[[], Any]]] = [
    (ValueError, "epochs must be a whole number >= 1, got 0", _fit(_data(), epochs=0)),
    (ValueError, "epochs must be a whole number >= 1, got True", _fit(_data(), epochs=True)),
    (ValueError, "epochs must be a whole number >= 1, got '3'", _fit(_data(), epochs="3")),
    (ValueError, "epochs must be a whole number >= 1, got 1.5", _fit(_data(), epochs=1.5)),
    (ValueError, "batch_size must be a whole number >= 1, got 0", _fit(_data(), batch_size=0)),
    (ValueError, "batch_size must be .* got -8", _fit(_data(), batch_size=-8)),
    (ValueError, "5 classes and the model has 4 outputs.*num_classes=5", _fit(_data(classes=5))),
    (ValueError, "labels must be from 0 to 3, for the 4 outputs.*got 4", _fit(_far_label())),
    (ValueError, "labels must be from 0", _fit((_data()[0], -_data()[1]))),
    (ValueError, "at least one image", _fit((np.zeros((0, 8, 8, 3), np.uint8), []))),
    (ValueError, "one for each image", _fit((_data()[0], _data()[1][:5]))),
    (
        ValueError,
        "at least one image",
        _fit(TensorDataset(torch.zeros(0, 3, 8, 8), torch.zeros(0))),
    ),
    (TypeError, "data must be images with labels", _fit(3)),
    (
        ValueError,
        r"got 255; .*or pass a loss that ignores 255, as nn.CrossEntropyLoss\(ignore_index=255\)",
        _fit_model(nn.Conv2d(3, 4, 3, padding=1), _segments()),
    ),
    (
        ValueError,
        "read batch by batch, got a TensorDataset, whose images are in memory; leave it out",
        _fit(TensorDataset(torch.randn(8, 3, 8, 8), torch.arange(8) % 4), steps_per_epoch=9),
    ),
    (
        ValueError,
        "steps_per_epoch is for data that are read batch by batch, got a tuple",
        _fit((torch.randn(8, 3, 9), torch.arange(8) % 4), steps_per_epoch=9),
    ),
    (TypeError, "output='a' chooses from a tuple or dict, got a", _fit(_data(), {"output": "a"})),
    (TypeError, "output=0 chooses from a tuple or dict, got a", _fit(_data(), {"output": 0})),
    (
        ValueError,
        r"validation images must have the shape .*\(3, 8, 8\), got \(3, 6, 6\); resize",
        _fit(_data(), val=_data(size=6)),
    ),
    (ValueError, r"\(3, 8, 8\), got \(3, 6, 6\)", _fit(_loader(), val=_loader(size=6))),
    (ValueError, "labels must be from 0 to 3", _fit(_data(), val=_data(classes=9))),
    (ValueError, "labels must be from 0 to 3", _fit(_loader(), val=_loader(classes=9))),
    (ValueError, "images must be of one size", _fit(DataLoader(OfSizes(), 8))),
    (ValueError, "warmup must be shorter", _fit(_data(), {"schedule": Cosine(warmup_epochs=1)})),
    (ValueError, "warmup_epochs must", _fit(_data(), {"schedule": Constant(warmup_epochs=-1)})),
    (ValueError, "step_size must be", _fit(_data(), {"schedule": Step(0)})),
    (ValueError, "pct_start must be", _fit(_data(), {"schedule": OneCycle(pct_start=2.0)})),
    (ValueError, "schedule settings", _fit(_data(), {"schedule": OneCycle(anneal_strategy="x")})),
]


def test_a_forward_for_one_size_of_batches_is_captured(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a report of the larger size, which was tried for evaluations."""
    model = OnlyFor8()
    trainer = Trainer(model, progress=False, autotune=False)
    images, labels = torch.randn(20, 3, 8, 8), torch.arange(20) % 4
    train, val = (DataLoader(TensorDataset(images[:n], labels[:n]), 8) for n in (16, 20))
    trainer.fit(train, val, epochs=1)
    assert trainer.program is not None
    plain = model.model.eval()(images + 1)
    loss = nn.functional.cross_entropy(plain, labels).item()
    assert trainer.history.last["val_loss"] == pytest.approx(loss, rel=1e-4)
    assert capfd.readouterr().err == ""


def test_detecting_anomalies_is_the_reason_for_training_in_pytorch() -> None:
    with (
        pytest.warns(UserWarning, match=r"because torch.autograd.detect_anomaly\(\) is active"),
        torch.autograd.set_detect_anomaly(True),
    ):
        _fit(_data())()


@pytest.mark.parametrize(("kind", "words", "action"), FITS)
@pytest.mark.filterwarnings("ignore:.*cannot be captured")
def test_fits(kind: type[BaseException], words: str, action: Callable[[], Any]) -> None:
    _fails(kind, words, action)


class Peeking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = _model()

    def forward(self, x: Tensor) -> Any:
        return self.model(x) if x.sum() > -1e9 else None


def test_labels_out_of_range_without_a_program() -> None:
    trainer = Trainer(Peeking(), progress=False)
    with pytest.warns(UserWarning, match="cannot be captured"):
        _fails(ValueError, "labels must be from 0", lambda: trainer.fit(_far_label(), epochs=1))


def test_predictions_of_nothing() -> None:
    trainer = Trainer(_model(), progress=False)
    _fails(
        ValueError,
        "predict needs at least one image",
        lambda: trainer.predict(torch.zeros(0, 3, 8, 8)),
    )
    _fails(ValueError, "batch_size must be", lambda: trainer.predict(torch.zeros(1, 3, 8, 8), 0))
    _fails(ValueError, "batch_size must be", lambda: trainer.evaluate(_data(), 0))


def test_a_model_that_returns_no_tensor() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(192, 4)

        def forward(self, x: Tensor) -> Any:
            return {"many": [self.linear(x.flatten(1))]}

    trainer = Trainer(Odd(), progress=False)
    _fails(TypeError, "must return a tensor", lambda: trainer.fit(_data(), epochs=1))


def test_images_that_the_model_does_not_accept() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Flatten())
    trainer, before = Trainer(model, progress=False), copy.deepcopy(model.state_dict())
    words = r"the model does not accept images of shape \({}, 3, 8, 8\): .* in 2 \(Conv2d\)"
    _fails(ValueError, words.format(16), lambda: trainer.fit(_data(), epochs=1, batch_size=16))
    _fails(ValueError, words.format(5), lambda: trainer.predict(torch.randn(5, 3, 8, 8)))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_loss_that_does_not_accept_the_output() -> None:
    class Loss(nn.Module):
        def forward(self, output: Tensor, labels: Tensor) -> Tensor:
            return (output[:, :2] - output).mean()

    words = "the loss does not accept the model's output and the labels"
    trainer = Trainer(_model(), loss=Loss(), progress=False)
    _fails(ValueError, words, lambda: trainer.fit(_data(), epochs=1))


def _step_and_state() -> tuple[EngineRunner, TrainState, nn.Module]:
    model = _model().train()
    module = StepModule(model, nn.CrossEntropyLoss())
    step = capture_step(module, torch.zeros(4, 3, 8, 8), torch.zeros(4).long())
    inference = capture_inference(model.eval(), torch.zeros(4, 3, 8, 8))
    constants = {**step.constants, **inference.constants}
    runner = EngineRunner(
        step.graph, inference.graph, list(constants.items()), None, call_operation
    )
    return runner, _state(model), model


def _state(model: nn.Module, **changes: Any) -> TrainState:
    settings = SGD().settings()
    return TrainState(
        [(n, changes.get(n, p.detach()), settings) for n, p in model.named_parameters()],
        [(n, b) for n, b in model.named_buffers()],
    )


SOUND = (ValueError, RuntimeError, TypeError, AttributeError, OverflowError)


def _never_panics(action: Callable[[], Any]) -> None:
    """Check that a call raises a readable exception and never panics."""
    with pytest.raises(SOUND) as caught:
        action()
    assert len(str(caught.value)) < 600


def _mutations() -> list[Any]:
    """Small graphs, each with one error."""
    graph = capture_inference(nn.ReLU(), torch.zeros(2, 3)).graph
    mutations: list[Any] = ["", "{", [], None, 3, "x", {}, object(), {1: 2}, {**graph, "more": 1}]
    for key in graph:
        for value in (None, 3, "x", [], [1], {}, [{}], -1):
            if value != graph[key]:
                mutations.append({**graph, key: value})
    for number in (-1, 7, 10**30, "x", None):
        broken = copy.deepcopy(graph)
        broken["inputs"][0]["value"] = number
        mutations.append(broken)
        broken = copy.deepcopy(graph)
        broken["calls"][0]["args"] = [{"tensor": number}]
        mutations.append(broken)
        broken = copy.deepcopy(graph)
        broken["outputs"]["predictions"] = number
        mutations.append(broken)
    unknown = copy.deepcopy(graph)
    unknown["calls"][0]["name"] = "aten::no_such_operation"
    mutations.append(unknown)
    scalar = copy.deepcopy(graph)
    scalar["values"][0]["shape"] = []
    mutations.append(scalar)
    return mutations


@pytest.mark.parametrize("index", range(len(_mutations())))
def test_invalid_graphs(index: int) -> None:
    graph = _mutations()[index]
    images = torch.zeros(2, 3)

    def action() -> None:
        runner = EngineRunner(None, graph, [], None, call_operation)
        _state(_model()).predict(runner, images)
        raise ValueError("nothing wrong with it")

    _never_panics(action)


@pytest.mark.parametrize(
    "action",
    [
        lambda r, s, m: s.predict(r, torch.zeros(())),
        lambda r, s, m: s.predict(r, torch.zeros(0, 3, 8, 8)),
        lambda r, s, m: s.predict(r, torch.zeros(4, 3, 8, 9)),
        lambda r, s, m: s.predict(r, torch.zeros(4, 3, 8, 8).long()),
        lambda r, s, m: s.predict(r, torch.zeros(4, 3, 8, 8, device="meta")),
        lambda r, s, m: s.predict(r, "images"),
        lambda r, s, m: s.predict(None, torch.zeros(4, 3, 8, 8)),
        lambda r, s, m: s.predict(object(), torch.zeros(4, 3, 8, 8)),
        lambda r, s, m: s.evaluate(r, 3),
        lambda r, s, m: s.evaluate(r, [3]),
        lambda r, s, m: s.evaluate(r, [(torch.zeros(4, 3, 8, 8), torch.zeros(3).long())]),
        lambda r, s, m: s.evaluate(r, [(torch.zeros(()), torch.zeros(()).long())]),
        lambda r, s, m: s.evaluate(r, [(torch.zeros(4, 3, 8, 8), torch.zeros(4))]),
        lambda r, s, m: s.evaluate(r, [(torch.zeros(4, 3, 8, 8), torch.full((4,), 4))]),
        lambda r, s, m: s.fit(r, [], None, None, epochs=1, schedule=Cosine().settings()),
        lambda r, s, m: s.fit(r, [1], None, None, epochs=1, schedule="{"),
        lambda r, s, m: s.fit(r, [1], None, None, epochs=-1, schedule={}),
        lambda r, s, m: s.fit(r, [1], None, 5, epochs=1, schedule=Cosine().settings()),
        lambda r, s, m: _state(m, **{"0.weight": torch.zeros(4, 3, 3, 3).long()}),
        lambda r, s, m: _state(m, **{"0.weight": torch.zeros(4, 3, 3, 3).half()}),
        lambda r, s, m: _state(m, **{"0.weight": torch.zeros(4, 3, 3, 6)[..., ::2]}),
        lambda r, s, m: _state(m, **{"0.weight": torch.zeros(1).expand(4, 3, 3, 3)}),
        lambda r, s, m: _state(m, **{"0.weight": "weight"}),
        lambda r, s, m: _step(r, _state(m, **{"0.weight": torch.zeros(4, 3, 5, 5)})),
        lambda r, s, m: _step(r, _state(m, **{"0.weight": torch.zeros(4, 3)})),
        lambda r, s, m: _step(r, TrainState([], [])),
        lambda r, s, m: TrainState([("a", torch.zeros(2), {})], []),
        lambda r, s, m: TrainState([("a", torch.zeros(2), {"name": "lion"})], []),
        lambda r, s, m: TrainState(3, 4),
        lambda r, s, m: TrainState([], [], "x"),
    ],
)
def test_invalid_states(action: Callable[..., Any]) -> None:
    _never_panics(lambda: action(*_step_and_state()))


def _step(runner: EngineRunner, state: TrainState) -> None:
    batch = (torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))
    state.fit(runner, [batch], None, None, epochs=1, schedule=Cosine().settings())


def test_a_valid_state_takes_a_step() -> None:
    runner, state, _ = _step_and_state()
    _step(runner, state)
    assert (state.step, state.epoch) == (1, 1)


def test_a_loss_and_a_module_with_the_same_name() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loss = nn.Linear(4, 2)

    with pytest.raises(ValueError, match=r"both have loss\.weight; give that module"):
        Trainer(Model(), loss=nn.Linear(2, 1), progress=False)


def _hooked(register: str) -> torch.optim.Optimizer:
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    getattr(optimizer, register)(lambda *_: None)
    return optimizer


@pytest.mark.parametrize("register", ["register_step_pre_hook", "register_step_post_hook"])
def test_hooks_of_an_optimizer(register: str) -> None:
    words = "the optimizer must have no hooks of its step"
    _fails(ValueError, words, lambda: Trainer(_model(), _hooked(register), progress=False))


def test_steps_of_an_optimizer_that_are_changed() -> None:
    words = "no hooks of its step and no step that was replaced"
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = register_optimizer_step_pre_hook(lambda *args: None)
    try:
        _fails(ValueError, words, lambda: Trainer(model, optimizer, progress=False))
    finally:
        handle.remove()
    optimizer.step = lambda: None
    _fails(ValueError, words, lambda: Trainer(model, optimizer, progress=False))


def test_parameters_that_overlap_in_memory() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model[2].weight = nn.Parameter(model[0].weight.detach())  # another object on the same memory
    with pytest.raises(ValueError, match=r"got 0.weight and 2.weight on the same; to tie"):
        Trainer(model)
    model[2].weight = model[0].weight
    Trainer(model)
    flat = torch.randn(8, 4, 3, 3)
    for module, part in zip((model[0], model[2]), flat.chunk(2), strict=True):
        module.weight = nn.Parameter(part)
    Trainer(model)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_lazy_model_that_has_not_run() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten())
    words = "got none yet for 0.weight of a lazy module; run one batch first"
    _fails(ValueError, words, lambda: Trainer(model, progress=False))
