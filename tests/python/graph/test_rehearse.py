"""A capture refuses what it would freeze or leave out, and names the line that does it."""

import cProfile
import itertools
import logging
import math
import random
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from proprelu.graph.joint import CaptureError, capture_inference, capture_step
from proprelu.graph.step import StepModule
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, weight_norm
from torch.utils.checkpoint import checkpoint

IMAGES, LABELS = torch.randn(4, 3, 6, 6), torch.zeros(4, dtype=torch.int64)
COUNT = 0
CALLS: list[int] = []
GENERATOR = np.random.default_rng(0)
SETTINGS = SimpleNamespace(scale=1.0, calls=0)


class Model(nn.Module):
    """A network that calls a function with itself and its features."""

    calls = 0

    def __init__(self, does: Callable[[Any, Tensor], Any] = lambda model, y: y) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.own, self.seen, self.info = 0, [], {"calls": 0}
        self.generator, self.counter = random.Random(0), itertools.count()
        self.bank = [torch.zeros(4)]
        self.cache: Any = None
        self.does = (does,)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x).relu().mean((2, 3))
        return self.fc(self.does[0](self, y))


def _global(model: Any, y: Tensor) -> Tensor:
    global COUNT
    COUNT += 1
    return y * (1 if COUNT < 10 else 0)


def _attribute(model: Any, y: Tensor) -> Tensor:
    model.own += 1
    return y


def _class_attribute(model: Any, y: Tensor) -> Tensor:
    type(model).calls += 1
    return y


def _moving_mean(model: Any, y: Tensor) -> Tensor:
    old = 0 if model.cache is None else model.cache
    model.cache = 0.9 * old + y.detach().mean(0)
    return y - model.cache


def _first_only(model: Any, y: Tensor) -> Tensor:
    """Stores weights, which the next forward reads."""
    old = model.cache
    model.cache = model.fc.weight.detach() * 2
    return y if old is None else y + old.mean()


def _closure() -> Callable[[Any, Tensor], Tensor]:
    count = 0

    def does(model: Any, y: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return y * count

    return does


FROZEN: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "random": (lambda m, y: y * random.random(), "draws from Python's random module"),
    "choice": (lambda m, y: y * random.choice([1, 2]), "draws from Python's random module"),
    "numpy": (lambda m, y: y * np.random.rand(), "draws from NumPy's random module"),
    "own random": (lambda m, y: y * m.generator.random(), "changes the attribute generator"),
    "global generator": (lambda m, y: y * GENERATOR.random(), "global variable GENERATOR"),
    "system": (lambda m, y: y * random.SystemRandom().random(), "random numbers of the system"),
    "torch": (lambda m, y: y * torch.rand(1).item(), "data-dependent: it reads the value"),
    "a draw": (lambda m, y: y if torch.rand(1) < 0.5 else -y, "data-dependent: it reads the value"),
    "clock": (lambda m, y: y * (time.time() > 0), "reads the clock"),
    "print": (lambda m, y: (print("forward"), y)[1], "prints"),
    "log": (lambda m, y: (logging.error("forward"), y)[1], "reads the clock|writes to a file"),
    "attribute": (_attribute, "changes the attribute own"),
    "list": (lambda m, y: (m.seen.append(len(y)), y)[1], "changes the attribute seen"),
    "dict": (lambda m, y: (m.info.update(calls=m.info["calls"] + 1), y)[1], "the attribute info"),
    "iterator": (lambda m, y: y * next(m.counter), "changes the attribute counter"),
    "class": (_class_attribute, "changes the class attribute Model.calls"),
    "global": (_global, "changes the global variable COUNT"),
    "global list": (lambda m, y: (CALLS.append(1), y)[1], "changes the global variable CALLS"),
    "object": (lambda m, y: (setattr(SETTINGS, "calls", SETTINGS.calls + 1), y)[1], "SETTINGS"),
    "features": (lambda m, y: setattr(m, "cache", y) or y, "changes the attribute cache"),
    "moving mean": (_moving_mean, "changes the attribute cache"),
    "stored weights": (_first_only, "changes the attribute cache"),
    "tensor in a list": (lambda m, y: y + m.bank[0].add_(1), "a tensor that is not a buffer"),
    "checkpoint": (lambda m, y: checkpoint(torch.exp, y, use_reentrant=False), "saved tensors"),
    "mask": (lambda m, y: y[y > 0].sum() + y, "data-dependent: the shape"),
    "list of values": (lambda m, y: y * len(y.mean(0).tolist()), "data-dependent"),
}


def _capture(model: nn.Module) -> Any:
    return capture_step(StepModule(model.train(), nn.CrossEntropyLoss()), IMAGES, LABELS)


def _world(model: nn.Module) -> Any:
    # An iterator cannot be put back.
    modules = [
        {k: str(v) for k, v in m.__dict__.items() if k != "counter"} for m in model.modules()
    ]
    outside = (COUNT, list(CALLS), Model.calls, SETTINGS.calls, str(GENERATOR.bit_generator.state))
    return modules, outside, random.getstate(), str(np.random.get_state())


@pytest.mark.parametrize("case", FROZEN)
@pytest.mark.filterwarnings("ignore:.*non-leaf")
def test_what_python_does_in_each_step(case: str, capsys: Any) -> None:
    does, reason = FROZEN[case]
    model = Model(does)
    before = _world(model)
    with pytest.raises(CaptureError, match=reason) as caught:
        _capture(model)
    assert "test_rehearse.py:" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _world(model) == before


def test_a_variable_around_a_function() -> None:
    with pytest.raises(CaptureError, match="changes the variable count around does"):
        _capture(Model(_closure()))


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.calls += 1

    def called(self, module: nn.Module, args: Any) -> None:
        self.calls += 1


@pytest.mark.parametrize(
    ("register", "reason"),
    [
        (lambda m, c: m.conv.register_forward_hook(c), "calls|Counter|hook"),
        (lambda m, c: m.conv.register_forward_pre_hook(c.called), "Counter"),
        (lambda m, c: m.conv.register_forward_hook(lambda *_: CALLS.append(1)), "CALLS"),
        (lambda m, c: m.conv.register_full_backward_hook(lambda *_: None), "conv has a backward"),
        (lambda m, c: m.conv.register_full_backward_pre_hook(lambda *_: None), "conv has a backw"),
        (lambda m, c: m.conv.weight.register_hook(lambda g: g * 0), "conv.weight has a gradient"),
        (
            lambda m, c: m.fc.bias.register_post_accumulate_grad_hook(lambda p: None),
            "fc.bias has a hook after its gradient",
        ),
        (
            lambda m, c: nn.modules.module.register_module_forward_hook(lambda *_: None),
            "registered for all modules",
        ),
    ],
)
def test_hooks(register: Callable[[Any, Any], Any], reason: str) -> None:
    model, counter = Model(), Counter()
    handle = register(model, counter)
    try:
        with pytest.raises(CaptureError, match=reason):
            _capture(model)
    finally:
        handle.remove()
    assert counter.calls == len(CALLS) == 0


def _cached(model: Any, y: Tensor) -> Tensor:
    if model.cache is None or len(model.cache) != y.shape[1]:
        model.cache = torch.arange(y.shape[1])
        model.info["size"] = tuple(y.shape)
    return y + model.cache


def _with(change: Callable[[Any], Any]) -> nn.Module:
    model = Model()
    change(model)
    return model


STEADY: dict[str, Callable[[], nn.Module]] = {
    "plain": Model,
    "a cache": lambda: Model(_cached),
    "dropout": lambda: Model(lambda m, y: nn.functional.dropout(y, 0.5, m.training)),
    "noise": lambda: Model(lambda m, y: y + torch.rand_like(y)),
    "weight norm": lambda: _with(lambda m: weight_norm(m.conv)),
    "spectral norm": lambda: _with(lambda m: parametrizations.spectral_norm(m.conv)),
    "pruning": lambda: _with(lambda m: prune.l1_unstructured(m.conv, "weight", 0.5)),
    "parametrized": lambda: _with(lambda m: parametrizations.weight_norm(m.conv)),
    "a pure hook": lambda: _with(lambda m: m.conv.register_forward_hook(lambda m, a, out: 2 * out)),
    "a hook before": lambda: _with(
        lambda m: m.conv.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    ),
}


@pytest.mark.parametrize("case", STEADY)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
def test_what_a_step_does_alike_each_time(case: str) -> None:
    model = STEADY[case]()
    before = _world(model)
    _capture(model)
    capture_inference(model.eval(), IMAGES)
    assert _world(model.train()) == before


def test_a_noted_shape_stays_and_a_cache_with_its_key_does_not() -> None:
    model = Model(lambda m, y: setattr(m, "own", y.shape[0]) or y)
    _capture(model)
    assert model.own == len(IMAGES)
    model = Model(_cached)
    _capture(model)
    assert model.cache is None
    assert "size" not in model.info


def test_an_inference_is_watched_too() -> None:
    model = Model(lambda m, y: y if m.training else y * random.random())
    _capture(model)
    with pytest.raises(CaptureError, match="draws from Python's random module"):
        capture_inference(model.eval(), IMAGES)


def test_a_profiler_that_runs_goes_on_afterwards() -> None:
    profiler = cProfile.Profile()
    model, images = Model().eval(), IMAGES
    with profiler:
        capture_inference(model, images)
        math.hypot(3.0, 4.0)
    calls = [str(entry.code) for entry in profiler.getstats()]
    assert any("hypot" in call for call in calls)
