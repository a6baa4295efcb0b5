"""Activations are counted where they are called, whatever surrounds the calls."""

import copy
import functools
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from proprelu import convert, plan_for, revert
from torch import nn
from torch.utils.checkpoint import checkpoint


class Functional(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 3, padding=1)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return F.relu(self.b(F.relu(self.a(x))))


def linear_first(part, x):
    return F.relu(part.b(part.a(x)))


def x():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def rectified(x, keep):
    return F.relu(x) if keep else x


class Shared(nn.Module):
    """Calls one block three times, with a module that is called twice in it."""

    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, x):
        for _ in range(3):
            x = self.block(x)
        return x


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.r = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

    def forward(self, x):
        return self.r(self.a(F.relu(self.a(self.r(self.a(x))))))


MASK = [True, False, True, False, False, True, True, True, False]


def test_each_call_of_a_shared_block_decides_for_itself():
    model = Shared()
    converted = convert(model, "1:1", MASK)
    expected, conv = x(), model.block.a
    for keep in MASK:
        expected = rectified(conv(expected), keep)
    for copied in (lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))):
        found = copied(converted)
        assert torch.equal(found(x()), expected)
        assert torch.equal(found(x()), expected)  # it counts anew
        assert plan_for(found, "1:1", skip="*").keep == MASK
        assert torch.equal(revert(found)(x()), model(x()))
    torch._dynamo.reset()
    compiled = torch.compile(converted, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x()), expected)
    with pytest.raises(RuntimeError, match="block decides differently in each of its calls"):
        converted.block(x())


def test_a_module_that_is_called_on_its_own():
    model = nn.Sequential(Functional(), Functional())
    converted = convert(model, "2:1")
    assert torch.equal(converted[1](x()), linear_first(model[1], x()))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_block_that_is_recomputed(reentrant):
    class Saves(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Functional(), Functional()])

        def forward(self, x):
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=reentrant)
            return x

    model = Saves()
    converted = convert(model, "2:1")
    mine, theirs = x().requires_grad_(), x().requires_grad_()
    converted(mine).sum().backward()
    linear_first(model.blocks[1], linear_first(model.blocks[0], theirs)).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_what_is_recomputed_alone_is_no_site():
    class Saves(Functional):
        def part(self, x):
            return F.relu(self.a(x))

        def forward(self, x):
            return F.relu(self.b(checkpoint(self.part, x, use_reentrant=False)))

    plan = plan_for(Saves(), "1:1")
    assert [site.name for site in plan.sites] == ["relu:2"]
    assert plan.others == (("relu:1", "recomputed by a checkpoint inside this forward"),)
    model = Saves()
    converted = convert(model, "1:1", [False])
    found = torch.autograd.grad(converted(x()).sum(), converted.a.weight)
    expected = torch.autograd.grad(model.b(F.relu(model.a(x()))).sum(), model.a.weight)
    torch.testing.assert_close(found, expected)


def test_what_a_custom_backward_belongs_to_is_no_site():
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return F.relu(x)

        @staticmethod
        def backward(ctx, grad):
            return grad * (ctx.saved_tensors[0] > 0)

    class Uses(Functional):
        def forward(self, x):
            return F.relu(self.b(Own.apply(self.a(x))))

    plan = plan_for(Uses(), "1:1")
    assert [reason for _, reason in plan.others] == [
        "inside a torch.autograd.Function, whose backward is fixed"
    ]
    model = Uses()
    converted = convert(model, "1:1", [False])
    assert torch.equal(converted(x()), model.b(F.relu(model.a(x()))))


def test_activations_inside_of_torch_do_not_count():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

        def mixed(self, x):
            return x + self.layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(x)

        def forward(self, x):
            return F.relu(self.b(self.mixed(F.relu(self.a(x)))))

    model = Attends()
    converted = convert(model, "2:1")
    torch.testing.assert_close(converted(x()), F.relu(model.b(model.mixed(model.a(x())))))


def test_activations_of_constants_count():
    class Weighs(Functional):
        def __init__(self):
            super().__init__()
            self.register_buffer("weights", torch.randn(3, 1, 1))

        def forward(self, x):
            y = F.relu(self.a(x)) * F.relu(self.weights)
            return F.relu(self.b(y))

    model = Weighs()
    expected = F.relu(model.b(model.a(x()) * F.relu(model.weights)))
    assert torch.equal(convert(model, "2:1")(x()), expected)


def test_modules_in_a_list_and_under_two_names():
    class Holds(Functional):
        def __init__(self):
            super().__init__()
            self.acts = [nn.ReLU()]
            self.one = self.two = nn.ReLU()

        def forward(self, x):
            return self.two(self.b(self.acts[0](self.a(x))))

    model = Holds()
    assert torch.equal(convert(model, "2:1")(x()), linear_first(model, x()))
    last = convert(model, "2:1", "first")
    assert last.one is last.two
    assert torch.equal(last(x()), model.b(F.relu(model.a(x()))))


def test_forwards_that_are_called_directly():
    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.part, self.conv, self.relu = Functional(), nn.Conv2d(3, 3, 1), nn.ReLU()

        def forward(self, x):
            return self.relu.forward(self.conv.forward(self.part.forward(x)))

    model = Direct()
    plan = plan_for(model, "3:1")
    assert [site.name for site in plan.sites] == ["part.relu:1", "part.relu:2", "relu"]
    expected = F.relu(model.conv(model.part.b(model.part.a(x()))))
    assert torch.equal(convert(model, "3:1")(x()), expected)


def test_replicas_and_threads():
    converted = convert(nn.Sequential(Functional(), Functional()), "2:1")
    expected = converted(x())
    assert torch.equal(converted._replicate_for_data_parallel()(x()), expected)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: converted(x()), range(40)))
    assert all(torch.equal(value, expected) for value in found)


def test_an_error_inside_leaves_nothing_behind():
    model = nn.Sequential(Functional(), Functional())
    converted = convert(model, "2:1")
    expected = converted(x())
    with pytest.raises(RuntimeError, match="channels"):
        converted(torch.randn(2, 5, 8, 8))
    assert torch._C._len_torch_function_stack() == 0
    assert torch.equal(converted(x()), expected)


def test_another_number_of_activations_is_an_error():
    class Chooses(Functional):
        def forward(self, x, more=0, early=False):
            x = self.a(x)
            if early:
                return x
            for _ in range(more):
                x = F.relu(x)
            return F.relu(self.b(F.relu(x)))

    model = Chooses()
    converted = convert(model, "2:1")
    assert torch.equal(converted(x()), linear_first(model, x()))
    assert torch.equal(converted(x(), early=True), model.a(x()))
    with pytest.raises(RuntimeError, match="own forward called relu more often than the 2 times"):
        converted(x(), more=1)


@pytest.mark.parametrize("model", [Shared(), nn.Sequential(Functional(), Functional())])
def test_another_tracer_sees_what_was_dropped(model):
    converted = convert(model, "2:1")
    traced = torch.fx.symbolic_trace(converted)
    assert torch.equal(traced(x()), converted(x()))


class ByName(Functional):
    def forward(self, x, *, scale=2.0, shift):
        return super().forward(x * scale) + shift


def test_another_tracer_sees_a_forward_with_keywords():
    class Shifts(ByName):
        def forward(self, x, *, scale=2.0, shift=1.0):
            return super().forward(x, scale=scale, shift=shift)

    for model, options in ((ByName(), {"shift": 1.0}), (Shifts(), {})):
        converted = convert(model, "2:1")
        expected = linear_first(model, x() * 2) + 1
        assert torch.equal(converted(x(), **options), expected)
        assert torch.equal(converted(x(), scale=2, shift=1), expected)
    assert torch.equal(torch.fx.symbolic_trace(converted)(x()), expected)
    with pytest.raises(TypeError, match="shift"):
        convert(ByName(), "2:1")(x())


class Hook:
    """Hooks in all the forms that a module takes."""

    def __call__(self, *_):
        return F.relu(_[-1] - 0.1)

    def method(self, *given):
        return self(*given)


HOOKS = [
    lambda module, args, result: F.relu(result - 0.1),
    Hook(),
    Hook().method,
    functools.partial(Hook().method, None),
]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("part", ["a", "b", ""])
def test_activations_of_hooks_do_not_count(part, hook):
    model = Functional()
    converted = convert(model, "2:1")
    converted.get_submodule(part).register_forward_hook(hook)

    def after(name, value):
        return F.relu(value - 0.1) if name == part else value

    y = after("a", model.a(x()))
    expected = after("", F.relu(after("b", model.b(y))))
    torch.testing.assert_close(converted(x()), expected)


def test_activations_of_hooks_before_a_forward_do_not_count():
    converted = convert(Functional(), "2:1")
    expected = converted(F.relu(x()))
    converted.a.register_forward_pre_hook(lambda module, args: F.relu(args[0]))
    torch.testing.assert_close(converted(x()), expected)
