"""Activations that are dropped where they are called."""

import copy
import functools
import pickle

import pytest
import torch
import torch.nn.functional as F
from proprelu.graph import Drop, decide, dropped, find_sites, install, remove, trace
from torch import nn


class Chain(nn.Module):
    """A convolution, an activation that is dropped, and a further operation."""

    def __init__(self, activation, after):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.activation, self.after = activation, after

    def forward(self, x):
        y = self.conv(x)
        return self.after(self.activation(y), y)


def drop_all(model):
    """Drops all activations; returns the model, and its decisions."""
    model = copy.deepcopy(model)
    traced = trace(model)
    sites = find_sites(traced).sites
    decide(traced, sites, [False] * len(sites))
    install(model, traced)
    return model, [site.node.meta["decision"] for site in sites]


def iadd(x, y):
    x += 1
    return x * y


def add_and_forget(x, y):
    x.add_(1)
    return x * y


def through_a_view(x, y):
    x.flatten(1).mul_(3)
    return x * y


def by_module(x, y):
    return nn.functional.silu(x, inplace=True) + y


def by_out(x, y):
    torch.add(y, 1, out=x)
    return x * y


def by_items(x, y):
    x[:, 1:] = 0
    return x * y


def into_a_part(x, y):
    x.narrow(2, 0, 2).copy_(x.narrow(2, 2, 2))
    return x * y


def into_its_input(x, y):
    y.mul_(2)
    return x * y


WRITES = [
    iadd, add_and_forget, through_a_view, by_module, by_out, by_items, into_a_part, into_its_input,
]  # fmt: skip


@pytest.mark.parametrize("activation", [F.relu, nn.ReLU(), torch.relu])
@pytest.mark.parametrize("after", WRITES)
def test_nothing_is_written_through_a_dropped_activation(activation, after):
    x = torch.randn(2, 3, 4, 4)
    model = Chain(activation, after)
    expected = Chain(lambda value: value.clone(), after)
    expected.load_state_dict(model.state_dict())
    result, decisions = drop_all(model)
    assert decisions == [Drop(copy=True)]
    with torch.no_grad():
        assert torch.equal(result(x), expected(x))
    if after is not by_out:
        result(x).sum().backward()


def test_an_in_place_activation_needs_no_copy():
    _, decisions = drop_all(Chain(lambda x: F.relu(x, inplace=True), iadd))
    assert decisions == [Drop(copy=False)]


def test_an_operation_on_its_own_result_needs_no_copy():
    def after(x, y):
        z = x + y
        z += 1
        return z

    assert drop_all(Chain(F.relu, after))[1] == [Drop(copy=False)]


FORMS = [
    F.relu, torch.relu, F.relu6, nn.ReLU(inplace=True), nn.ReLU6(), nn.Threshold(0, 0),
    lambda x: x.relu(), lambda x: x.relu_(), lambda x: F.relu(input=x), torch.relu_,
    lambda x: x.clamp(min=0), lambda x: x.clamp_(min=0), lambda x: x.clamp_min(0),
    lambda x: x.clamp_min_(0.0), lambda x: torch.clamp(x, 0), lambda x: torch.clip(x, 0, 6),
    lambda x: F.threshold(x, 0, 0), lambda x: F.threshold(x, 0, 0, True),
    lambda x: F.hardtanh(x, 0, 6), lambda x: torch.maximum(x, torch.zeros_like(x)),
    lambda x: torch.maximum(x, torch.tensor(0.0)), lambda x: torch.max(x, torch.zeros(1)),
    lambda x: x.maximum(x.new_zeros(1)), torch.ops.aten.relu.default, torch.ops.aten.relu_.default,
    lambda x: torch.ops.aten.hardtanh.default(x, 0, 6),
    lambda x: torch.ops.aten.clamp_min.default(x, 0), lambda x: nn.ReLU(inplace=True)(x),
    torch.ops.aten.relu, torch.ops.aten.relu_, torch.ops.aten.relu6, torch._C._nn.relu6,
    lambda x: torch.ops.aten.clamp(x, 0), lambda x: torch.ops.aten.clip_(x, min=0),
    lambda x: torch.ops.aten.threshold(x, 0, 0), lambda x: torch.clamp_min_(x, 0),
    lambda x: torch.ops.aten.maximum(x, torch.zeros(())), lambda x: torch._C._nn.hardtanh(x, 0, 6),
    lambda x: torch.ops.aten.max.other(x, torch.zeros(())), functools.partial(F.relu, inplace=True),
]  # fmt: skip


@pytest.mark.parametrize("form", range(len(FORMS)))
def test_every_form_is_dropped_and_put_back(form):
    model, x = Chain(FORMS[form], lambda x, y: x * 2), torch.randn(2, 3, 4, 4) * 5
    expected = model(x)
    off, _ = drop_all(model)
    assert torch.equal(off(x), off.conv(x) * 2)
    traced = trace(off)
    (site,) = find_sites(traced).sites
    assert site.activation.dropped
    decide(traced, [site], [True])
    install(off, traced)
    assert torch.equal(off(x), expected)
    assert type(off) is Chain


OTHERS = [
    lambda x: x.clamp(min=-1), lambda x: x.clamp(0, 1), lambda x: F.threshold(x, 1, 0),
    lambda x: torch.maximum(x, x * 2), lambda x: x.max(), lambda x: x.clamp(max=0), F.hardtanh,
    lambda x: torch.clamp(x, torch.zeros(1)), lambda x: torch.maximum(x, torch.ones(1)),
]  # fmt: skip


@pytest.mark.parametrize("form", range(len(OTHERS)))
def test_what_only_looks_like_a_relu_is_no_site(form):
    assert find_sites(trace(Chain(OTHERS[form], lambda x, y: x * 2))).sites == ()


def test_the_mark_is_seen_by_a_tracer():
    class Marked(nn.Module):
        def forward(self, x):
            return dropped(x, "relu")

    graph = torch.fx.symbolic_trace(Marked()).graph
    assert [n.target for n in graph.nodes if n.op == "call_function"] == [dropped]


@pytest.mark.parametrize("activation", [F.relu, nn.ReLU()])
def test_another_tracer_records_what_was_dropped(activation):
    result, _ = drop_all(Chain(activation, lambda x, y: x * 2))
    graph_module = torch.fx.symbolic_trace(result)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(graph_module(x), result(x))
    traced = trace(graph_module)
    (site,) = find_sites(traced).sites
    assert site.activation.dropped
    decide(traced, [site], [True])
    install(graph_module, traced)
    assert torch.equal(graph_module(x), F.relu(result.conv(x)) * 2)


class Awkward(nn.Module):
    """Has unused modules, buffers, attributes, and an output with a structure."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(2, 2)
        self.body = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3)})
        self.body["spare"] = nn.Conv2d(1, 1, 1)
        self.register_buffer("scale", torch.tensor(2.0))
        self.register_buffer("shift", torch.tensor(1.0), persistent=False)
        self.tag = "mine"

    def forward(self, x):
        x = F.relu(self.body["conv"](x)) * self.scale + self.shift
        x = F.max_pool2d(x, kernel_size=2)[:, 1:, ..., None].squeeze(-1)
        return {"mean": x.mean(dim=(2, 3)), "pair": [x, (x + torch.ones(1), 3)]}


@pytest.mark.parametrize(
    "copied",
    [
        lambda m: m,
        copy.copy,
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: pickle.loads(pickle.dumps(copy.deepcopy(m))),
    ],
)
def test_all_of_the_model_is_kept(copied):
    model, x = Awkward().eval(), torch.randn(2, 3, 8, 8)
    model.body["conv"].weight.requires_grad_(False)
    result = copied(drop_all(model)[0])
    assert isinstance(result, Awkward)
    assert [name for name, _ in result.named_modules()] == [
        name for name, _ in model.named_modules()
    ]
    assert list(result.state_dict()) == list(model.state_dict())
    grads = [p.requires_grad for p in result.parameters()]
    assert grads == [p.requires_grad for p in model.parameters()]
    assert (result.tag, result.training, type(result).__name__) == ("mine", False, "Awkward")
    y = F.max_pool2d(model.body["conv"](x) * 2 + 1, 2)[:, 1:]
    assert torch.equal(result(x)["mean"], y.mean((2, 3)))
    assert torch.equal(result(x)["pair"][1][0], y + 1)
    remove(result)
    assert type(result) is Awkward
    assert vars(result).keys() == vars(model).keys()


def test_a_deep_copy_is_independent():
    first, _ = drop_all(Awkward())
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.body["conv"].weight.zero_()
    assert first.body["conv"].weight.abs().sum() > 0
    remove(second)
    assert type(first) is not Awkward


def test_a_model_compiles_to_the_same():
    model, x = Chain(F.relu, iadd), torch.randn(2, 3, 4, 4)
    result, _ = drop_all(model)
    compiled = torch.compile(result, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(x), result(x))


def test_a_caller_that_gets_input_and_result_gets_two_tensors():
    model = Chain(F.relu, lambda x, y: (x, y))
    result, decisions = drop_all(model)
    assert decisions == [Drop(copy=True)]
    first, second = result(torch.randn(2, 3, 4, 4))
    first += 1
    assert torch.equal(first, second + 1)


def test_models_of_different_classes_are_compiled_apart():
    """``torch.compile`` takes sizes that change between calls of one function as dynamic."""

    class Other(Chain):
        def forward(self, x):
            return super().forward(x) * 2

    torch._dynamo.reset()
    symbolic = []

    def backend(graph, inputs):
        symbolic.extend(value for value in inputs if isinstance(value, torch.SymInt))
        return graph.forward

    for kind, size in ((Chain, 2), (Other, 3)):
        model, _ = drop_all(kind(F.relu, lambda x, y: x + y))
        torch.compile(model, backend=backend)(torch.randn(size, 3, 4, 4))
    assert not symbolic
