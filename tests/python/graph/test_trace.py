import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from proprelu.graph import trace
from torch import nn


class Net(nn.Module):
    """A convolution, then a given function."""

    def __init__(self, then):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.then = then

    def forward(self, x):
        return self.then(self, F.relu(self.conv(x)))


def run(model, x, **options):
    """Runs what was traced, in the mode of the model."""
    traced = trace(model, **options)
    path = traced.paths[-1] if model.training else traced
    for name, value in path.constants.items():
        model.__dict__[name] = value
    return torch.fx.Interpreter(model, graph=path.graph).run(x)


def by_shape(self, x):
    if x.shape[2] > 4:
        x = F.max_pool2d(x, 2)
    for i in range(x.size(0)):
        x = x + i
    batch, channels, height, width = x.shape
    return x.view(batch, channels * height * width)


def by_value(self, x):
    return x * 2 if x.sum() > 0 else x


def by_mode(self, x):
    return x * 2 if self.training else x


def by_constant(self, x):
    return x + torch.arange(8.0)


def test_shapes_come_from_an_example():
    model, x = Net(by_shape), torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"cannot trace Net: its forward fails at test_trace\.py"):
        trace(model)
    assert torch.equal(run(model, x, example_input=x), model(x))


def test_an_example_moves_no_statistics():
    model = nn.Sequential(Net(by_shape), nn.Unflatten(1, (4, 16)), nn.BatchNorm1d(4))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trace(model, torch.randn(2, 3, 8, 8))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("example", [None, torch.zeros(2, 3, 8, 8)])
def test_control_flow_on_values_is_refused_with_the_line(example):
    with pytest.raises(ValueError, match="control flow") as caught:
        trace(Net(by_value), example)
    message = str(caught.value)
    assert "\n" not in message
    assert "return x * 2 if x.sum() > 0 else x" in message
    assert ("give example_input" in message) == (example is None)
    assert "torch.fx.wrap" in message


@pytest.mark.parametrize(
    ("example", "got"),
    [
        (torch.zeros(2, 5, 8, 8), r"torch.float32 \(2, 5, 8, 8\) \(.*channels.*\)"),
        (torch.zeros(3), r"torch.float32 \(3,\)"),
        ("images", "str"),
        ((torch.zeros(2, 3, 8, 8), 1, 2, 3), r"torch.float32 \(2, 3, 8, 8\), int, int, int"),
    ],
)
def test_an_example_that_the_model_does_not_take_is_refused(example, got):
    def by_shape(self, x):
        return self.conv(x) if x.shape[2] > 1 else x

    with pytest.raises(ValueError, match=f"example_input must be what Net .* got {got}") as caught:
        trace(Net(by_shape), example)
    assert "\n" not in str(caught.value)


def test_a_submodule_that_fails_is_named():
    with pytest.raises(ValueError, match=r"cannot trace Sequential: 1\.0 fails"):
        trace(nn.Sequential(nn.ReLU(), nn.Sequential(Net(by_value))))


def test_a_path_for_each_mode():
    for training in (True, False):
        traced = trace(Net(by_mode).train(training))
        assert traced.training is not None
        assert len(traced.training.graph.nodes) != len(traced.graph.nodes)
    model, x = Net(by_mode), torch.randn(2, 3, 8, 8)
    for mode in (True, False, True):
        assert torch.equal(run(model.train(mode), x), model(x))


def test_asking_for_the_mode_is_no_error_where_the_paths_agree():
    def ask(self, x):
        heads = None
        return heads(x) if self.training and heads else x

    assert [node.op for node in trace(Net(ask)).graph.nodes].count("call_module") == 1


def test_the_model_is_left_as_it_was():
    def keep(self, x):
        self.seen, self.count = x, 1
        return x + torch.ones(8)

    model = Net(keep)
    model.seen = "nothing"
    before = {module: dict(module.__dict__) for module in model.modules()}
    trace(model)
    assert {module: dict(module.__dict__) for module in model.modules()} == before


def test_hooks_on_containers_see_no_symbols():
    model, seen = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1))), []
    model[0].register_forward_hook(lambda module, args, out: seen.append(out))
    trace(model)
    assert seen == []


def test_arguments_that_choose_a_path_keep_their_defaults():
    class Chooses(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x, mask=None, twice=False):
            x = self.conv(x)
            if mask is not None:
                x = x * mask
            return x * 2 if twice else x

    model, x = Chooses(), torch.randn(2, 3, 5, 5)
    assert torch.equal(run(model, x), model(x))


def test_a_cache_stays_as_it_is():
    class Cached(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bias = nn.Conv2d(3, 4, 1), nn.Parameter(torch.randn(4, 1, 1))
            self.cache, self.seen = {}, []

        def forward(self, x):
            if self.training:
                return self.conv(x) + self.bias
            if "bias" not in self.cache:
                self.cache["bias"] = self.bias.exp()
                self.seen.append(self.bias)
            return self.conv(x) + self.cache["bias"]

    model, x = Cached(), torch.randn(2, 3, 8, 8)
    for example in (None, x):
        for mode in (True, False):
            traced = run(model.train(mode), x, example_input=example)
            assert (model.cache, model.seen) == ({}, [])
            assert torch.equal(traced, model(x))
            model.cache.clear(), model.seen.clear()


def test_a_parameter_that_is_an_argument_has_a_shape():
    class Indexed(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(9, 3))
            self.register_buffer("places", torch.arange(16) % 9)

        def forward(self, x):
            rows = torch.cat((self.table[self.places], self.table))
            return x * rows.view(len(x), -1).sum()

    model, x = Indexed(), torch.randn(5, 3)
    assert torch.equal(run(model, x, example_input=x), model(x))


def test_each_path_has_its_constants():
    def by_mode_and_constant(self, x):
        return x + torch.arange(8.0) if self.training else x * torch.arange(1.0, 9.0)

    model, x = Net(by_mode_and_constant), torch.randn(2, 3, 8, 8)
    for mode in (True, False):
        assert torch.equal(run(model.train(mode), x), model(x))


def test_items_are_assigned():
    def assigns(self, x):
        y = x * 2
        y[:, :, : len(x)] = y[:, :, : len(x)].view(len(x), -1, len(x), 8) + 1
        return y

    model, x = Net(assigns), torch.randn(2, 3, 8, 8)
    assert torch.equal(run(model, x, example_input=x), model(x))


def test_a_trace_changes_no_values():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.average = torch.zeros(3)

        def forward(self, x):
            self.calls.add_(1)
            self.average.mul_(0.9).add_(1)
            return x

    model = Counts()
    for example in (None, torch.zeros(1)):
        trace(model, example)
    assert not model.calls
    assert not model.average.any()


def test_models_are_traced_in_several_threads():
    models = [Net(lambda self, x: x) for _ in range(4)]
    before = nn.Module.__call__, nn.Module.__getattr__
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda model: len(trace(model).events), models * 4))
    finally:
        sys.setswitchinterval(interval)
    assert found == [1] * 16
    assert (nn.Module.__call__, nn.Module.__getattr__) == before


ASSERTIONS = {
    "assert x.ndim == 4": True,
    "assert x.ndim == 4, f'got {x.ndim}'": True,
    "assert x.ndim == 4 and x.shape[1] == 4": True,
    "if x.ndim != 4: raise ValueError": False,
    "return x if x.ndim == 4 else 0": False,
    "return not x.ndim == 4": False,
    "return bool(x.ndim)": False,
}


@pytest.mark.parametrize("line", ASSERTIONS)
def test_assertions_are_no_control_flow(line):
    names = {}
    exec(f"def check(x):\n    {line}\n    return x", names)  # pytest rewrites its own asserts
    model = Net(lambda self, x: names["check"](x))
    if ASSERTIONS[line]:
        assert len(trace(model).events) == 1
    else:
        with pytest.raises(ValueError, match="control flow"):
            trace(model)
