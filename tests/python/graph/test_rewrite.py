import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from proprelu.graph import dropped, find_sites, rewrite, trace
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
    traced = trace(model)
    sites = find_sites(traced).sites
    return rewrite(traced, sites, [False] * len(sites))


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


@pytest.mark.parametrize("after", [iadd, add_and_forget, through_a_view, by_module])
def test_nothing_is_written_through_a_dropped_activation(after):
    x = torch.randn(2, 3, 4, 4)
    model = Chain(F.relu, after)
    expected = Chain(lambda value: value.clone(), after)
    expected.load_state_dict(model.state_dict())
    result = drop_all(model)
    assert torch.equal(result(x), expected(x))
    result(x).sum().backward()


def test_an_in_place_activation_needs_no_copy():
    result = drop_all(Chain(lambda x: F.relu(x, inplace=True), iadd))
    assert "clone" not in result.code


def test_an_operation_on_its_own_result_needs_no_copy():
    def after(x, y):
        z = x + y
        z += 1
        return z

    assert "clone" not in drop_all(Chain(F.relu, after)).code


@pytest.mark.parametrize(
    "activation",
    [F.relu, F.relu6, nn.ReLU(inplace=True), nn.ReLU6(), lambda x: x.relu_(), torch.relu],
)
def test_a_dropped_activation_can_be_put_back(activation):
    model, x = Chain(activation, lambda x, y: x * 2), torch.randn(2, 3, 4, 4) * 5
    off = drop_all(model)
    assert torch.equal(off(x), model.conv(x) * 2)
    traced = trace(off)
    (site,) = find_sites(traced).sites
    assert site.activation.dropped
    assert torch.equal(rewrite(traced, [site], [True])(x), model(x))


def test_the_mark_is_seen_by_a_tracer():
    class Marked(nn.Module):
        def forward(self, x):
            return dropped(x, "relu")

    graph = torch.fx.symbolic_trace(Marked()).graph
    assert [n.target for n in graph.nodes if n.op == "call_function"] == [dropped]


class Awkward(nn.Module):
    """Has what a plain GraphModule loses: unused modules, their order, buffers, slices."""

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
    result = copied(drop_all(model))
    assert [name for name, _ in result.named_modules()] == [
        name for name, _ in model.named_modules()
    ]
    assert [type(m) for m in result.children()] == [type(m) for m in model.children()]
    assert list(result.state_dict()) == list(model.state_dict())
    grads = [p.requires_grad for p in result.parameters()]
    assert grads == [p.requires_grad for p in model.parameters()]
    assert (result.tag, result.training, type(result).__name__) == ("mine", False, "Awkward")
    expected = Awkward().eval()
    expected.load_state_dict(model.state_dict())
    y = F.max_pool2d(model.body["conv"](x) * 2 + 1, 2)[:, 1:]
    assert torch.equal(result(x)["mean"], y.mean((2, 3)))
    assert torch.equal(result(x)["pair"][1][0], y + 1)


def test_a_deep_copy_is_independent():
    first = drop_all(Awkward())
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.body["conv"].weight.zero_()
    assert first.body["conv"].weight.abs().sum() > 0
    assert first.graph is not second.graph


def test_a_rewritten_model_compiles_to_the_same():
    model, x = Chain(F.relu, iadd), torch.randn(2, 3, 4, 4)
    result = drop_all(model)
    compiled = torch.compile(result, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(x), result(x))
