"""A converted model keeps all that surrounds its operations; the oracle is the model itself."""

import functools
import random
import threading
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from proprelu import Anneal, anneal_step, convert, plan_for, ratio_of, revert
from torch import Tensor, nn
from torch.nn.utils import prune


class Two(nn.Module):
    """Two convolutions with activations, and something between them."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.relu = nn.ReLU()

    def forward(self, x):
        return F.relu(self.b(self.mid(self.relu(self.a(x)))))

    def mid(self, x):
        return x


def x():
    return torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def linear_first(model, x):
    return F.relu(model.b(model.mid(model.a(x))))


def gradients(model, run):
    """The gradients of all parameters, None where there is none."""
    loss = run(x()).square().sum()
    return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)


def assert_same(mine, theirs):
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


class Round(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Frozen(Two):
    def mid(self, x):
        with torch.no_grad():
            return x * 2


class Estimated(Two):
    def mid(self, x):
        return Round.apply(x * 8)


class LowPrecision(Two):
    def mid(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return (self.b(F.pad(x, (1, 1, 1, 1))) + 0).float()


class WritesIntoZeros(Two):
    def mid(self, x):
        out = torch.zeros(2, 8, 7, 7)
        out[:, :4] = x[:, 4:]
        return out * 2


class MadeInForward(Two):
    def mid(self, x):
        return nn.Dropout(0.0)(nn.LeakyReLU(0.5)(x))


class Sliced(nn.Module):
    def __init__(self):
        super().__init__()
        self.s = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())

    def forward(self, x):
        return self.s[2:](self.s[:2](x))


class ByShape(Two):
    def mid(self, x):
        n, c, h, w = x.data.size()
        return x.view(n, int(c / 2), 2, h, w).flatten(1, 2)


@pytest.mark.parametrize(
    "kind", [Frozen, Estimated, LowPrecision, WritesIntoZeros, MadeInForward, ByShape]
)
def test_results_and_gradients(kind):
    model = kind()
    example = x() if kind in (WritesIntoZeros, ByShape) else None
    same, half = (convert(model, ratio, example_input=example) for ratio in ("1:1", "2:1"))
    assert torch.equal(same(x()), model(x()))
    assert_same(gradients(same, same), gradients(model, model))
    assert torch.equal(half(x()), linear_first(model, x()))
    theirs = gradients(model, functools.partial(linear_first, model))
    assert_same(gradients(half, half), theirs)


def test_a_slice_of_a_sequential():
    model = Sliced()
    c, d = model.s[0], model.s[2]
    plan = plan_for(model, "2:1")
    assert [(site.name, site.conv) for site in plan.sites] == [("s.1", "s.0"), ("s.3", "s.2")]
    assert torch.equal(convert(model, "2:1")(x()), F.relu(d(c(x()))))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(1, 8, 1, 1),
        lambda: random.uniform(0.5, 1.5),
        lambda: float(np.random.rand()),
    ],
)
def test_random_numbers_are_drawn_in_each_call(draw):
    model = Two()
    model.mid = lambda x: x * draw()
    converted = convert(model, "2:1", inplace=True)
    assert len({converted(x()).sum().item() for _ in range(8)}) == 8


def test_a_part_that_is_left_out_by_chance():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            if self.training and random.random() < 0.5:
                return x
            return x + F.relu(self.b(F.relu(self.a(x))))

    model = nn.Sequential(*[Skips() for _ in range(4)])
    converted = convert(model, "2:1")
    assert len({converted(x()).sum().item() for _ in range(30)}) > 4
    expected = x()
    for part in model:
        expected = expected + F.relu(part.b(part.a(expected)))
    assert torch.equal(converted.eval()(x()), expected)


def by_method(model):
    model.forward = types.MethodType(lambda self, x: 2 * type(model).forward(self, x), model)


def by_partial(model):
    model.forward = functools.partial(lambda self, x: 2 * type(model).forward(self, x), model)


@pytest.mark.parametrize("patch", [by_method, by_partial])
@pytest.mark.parametrize("inplace", [True, False])
def test_a_forward_that_was_set_on_the_model(patch, inplace):
    model = Two()
    patch(model)
    expected = 2 * linear_first(model, x())
    converted = convert(model, "2:1", inplace=inplace)
    assert torch.equal(converted(x()), expected)
    assert torch.equal(revert(converted)(x()), 2 * F.relu(model.b(F.relu(model.a(x())))))


def test_a_forward_that_was_set_inside():
    model = nn.Sequential(Two(), nn.Conv2d(8, 3, 3), nn.ReLU())
    by_method(model[0])
    converted = convert(model, "2:1")
    y = 2 * linear_first(model[0], x())
    assert torch.equal(converted(x()), F.relu(model[1](y)))


def test_a_forward_that_holds_the_original_is_not_copied():
    model = Two()
    before = model.forward
    model.forward = lambda x: 2 * before(x)
    with pytest.raises(ValueError, match=r"forward that was set on it .*; set types\.Method"):
        convert(model, "2:1")
    expected = 2 * linear_first(model, x())
    assert torch.equal(convert(model, "2:1", inplace=True)(x()), expected)


def test_a_call_of_its_own():
    class Calls(Two):
        def __call__(self, x):
            return 3 * super().__call__(x)

    model = nn.Sequential(Calls(), Calls())
    model[1].a = nn.Conv2d(8, 8, 3)
    y = 3 * linear_first(model[0], x())
    assert torch.equal(convert(model, "2:1")(x()), 3 * linear_first(model[1], y))


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor | None = None


def test_arguments_and_outputs():
    class Chooses(Two):
        def forward(self, x, mask=None, *, scale=1.0, **rest):
            x = x if mask is None else x * mask
            return Output(Two.forward(self, x * scale), rest.get("hidden"))

        def features(self, x):
            return self.relu(self.a(x))

    model = Chooses()
    half = convert(model, "2:1")
    for given in ({}, {"mask": None}, {"mask": torch.rand(9)}, {"scale": 3.0, "hidden": 1}):
        mask = given.get("mask")
        y = x() if mask is None else x() * mask
        found = half(x(), **given)
        assert type(found) is Output
        assert torch.equal(found.logits, linear_first(model, y * given.get("scale", 1.0)))
        assert found.hidden == given.get("hidden")
    assert torch.equal(half.features(x()), model.a(x()))


NAMES = ("graph", "meta", "recompile", "in_training", "training_graph", "proprelu_slope", "code")


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_submodule(name):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(name, nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))

        def forward(self, x):
            return F.relu(self._modules[name](x))

    model = Named()
    for drop in ([True], [False]):
        way = convert(model, "1:1", [*drop, True], anneal=Anneal(epochs=2))
        assert torch.equal(way(x()), model(x()))
        assert list(way.state_dict()) == list(model.state_dict())
    anneal_step(way)
    conv = model._modules[name][0]
    torch.testing.assert_close(way(x()), F.relu(F.leaky_relu(conv(x()), 0.5)))


def test_a_model_that_loops_over_its_children_is_annealed():
    class Loops(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)

        def forward(self, x):
            for conv in self.children():
                x = F.relu(conv(x))
            return x

    model = Loops()
    way = convert(model, "2:1", anneal=Anneal(epochs=2))
    assert torch.equal(way(x()), model(x()))
    anneal_step(way)
    expected = F.relu(model.b(F.leaky_relu(model.a(x()), 0.5)))
    torch.testing.assert_close(way(x()), expected)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), F.relu_, lambda x: x.relu_()])
def test_what_an_annealed_in_place_activation_writes_is_read_by_others(activation, steps):
    class Shortcut(nn.Module):
        def __init__(self, r):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.r = r

        def forward(self, x):
            x = self.a(x)
            return self.b(self.r(x)) + x

    model = Shortcut(activation)
    way = convert(model, "1:1", [False], anneal=Anneal(epochs=2))
    for _ in range(steps):
        anneal_step(way)
    oracle = Shortcut(lambda x: x)
    oracle.load_state_dict(model.state_dict())

    def expected(x):
        y = F.leaky_relu(oracle.a(x), steps / 2)
        return oracle.b(y) + y

    torch.testing.assert_close(way(x()), expected(x()))
    assert_same(gradients(way, way), gradients(oracle, expected))


def test_a_scripted_part_stays_as_it_is():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Conv2d(8, 8, 3)

        def forward(self, x):
            return F.relu(self.c(x))

    model = Two()
    with pytest.warns(DeprecationWarning, match="script"):
        model.mid = torch.jit.script(Part())
    converted = convert(model, "2:1")
    assert torch.equal(converted(x()), linear_first(model, x()))


@pytest.mark.parametrize(
    "computed",
    [
        lambda m: prune.l1_unstructured(m.a, "weight", 0.5),
        lambda m: prune.random_unstructured(m.b, "bias", 0.5),
        lambda m: setattr(m, "cache", {"seen": [m.a.weight * 2]}),
    ],
)
def test_tensors_that_were_computed_are_copied(computed):
    model = Two()
    computed(model)
    model(x())
    converted = convert(model, "2:1")
    assert torch.equal(converted(x()), linear_first(model, x()))
    converted(x()).sum().backward()
    assert all(p.grad is None for p in model.parameters())


def test_spectral_norm_is_copied():
    model = Two().eval()
    with pytest.warns(FutureWarning, match="deprecated"):
        nn.utils.weight_norm(model.a)
    model(x())
    assert torch.equal(convert(model, "2:1")(x()), linear_first(model, x()))


def test_what_cannot_be_copied_is_named():
    model = Two()
    model.b.guard = threading.Lock()
    with pytest.raises(ValueError, match=r"its attribute b\.guard, a lock, .*inplace=True"):
        convert(model, "2:1")
    assert str(ratio_of(convert(model, "2:1", inplace=True))) == "2:1"


def test_an_exported_model():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU6()
    ).eval()
    exported = torch.export.export(model, (x(),)).module()
    assert str(ratio_of(exported)) == "2:2"
    half = convert(exported, "2:1", inplace=True)
    expected = model[4](model[3](model[1](model[0](x()))))
    torch.testing.assert_close(half(x()), expected)
    torch.testing.assert_close(revert(half, inplace=True)(x()), model(x()))


def test_the_class_and_the_world_of_a_reverted_model_are_its_own():
    model = Two()
    back = revert(convert(model, "2:1", anneal=Anneal(1)))
    assert type(back) is Two
    assert type(back.relu) is nn.ReLU
    assert vars(back).keys() == vars(model).keys()
    assert [n for n, _ in back.named_buffers()] == []
    half = convert(model, "2:1")
    assert isinstance(half, Two)
    assert (type(half).__name__, type(half).__module__) == ("Two", Two.__module__)
    assert isinstance(half.relu, nn.ReLU)
    assert "DroppedReLU" in repr(half)
