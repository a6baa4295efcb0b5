"""What cannot be intercepted counts, or is named: a ratio is never wrong in silence."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from proprelu import convert, plan_for, ratio_of
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential


class Part(nn.Module):
    """A convolution, a norm and an activation."""

    def __init__(self, activation=F.relu):
        super().__init__()
        self.c, self.n = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.activation = activation

    def forward(self, x):
        return self.activation(self.n(self.c(x)))


class Relu(nn.Module):
    """As ``Part``, in a form that ``torch.jit.script`` accepts."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.c, self.n = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.r = nn.ReLU(inplace)

    def forward(self, x):
        return F.relu(self.r(self.n(self.c(x))))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.f = nn.Conv2d(4, 4, 1), nn.Linear(4, 4)

    def forward(self, x):
        return F.relu(self.f(self.c(x).mean((2, 3))))


class Net(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.a, self.part, self.b = nn.Conv2d(3, 4, 3, padding=1), part, nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return F.relu(self.b(self.part(F.relu(self.a(x)))))


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return F.relu(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * (ctx.saved_tensors[0] > 0)


@torch.fx.wrap
def rectified(x):
    return F.relu(x)


torch.library.define("test_fixed::rectify", "(Tensor x) -> Tensor")
torch.library.impl("test_fixed::rectify", "CompositeImplicitAutograd", torch.relu)


def compiled(module, how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if how == "script":
            return torch.jit.script(module)
        return torch.jit.trace(module, torch.randn(2, 4, 8, 8), check_trace=False)


def x():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize(
    "part",
    [
        lambda: Relu(),
        lambda: Relu(inplace=True),
        lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU6(), Relu()),
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 1, bias=False)),
        lambda: nn.Sequential(nn.Hardtanh(0.0, 6.0), nn.BatchNorm2d(4)),
        lambda: Head(),
    ],
)
def test_a_compiled_part_counts_as_much_as_before(part, how):
    part = part().eval()
    model = Net(part)
    if isinstance(part, Head):
        model.b = nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.Conv2d(4, 4, 1))
    expected = ratio_of(model)
    model.part = compiled(part, how)
    assert ratio_of(model) == expected
    assert ratio_of(model, x()) == expected
    plan = plan_for(model, "1:1")
    assert plan.relus == expected.relus
    assert plan.fixed == expected.relus - 2
    assert ("which cannot be changed" in plan.title) == (plan.fixed > 0)
    assert ratio_of(convert(model, "1:1", [False, True])).relus == expected.relus - 1


@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_compiled_part_is_trained(how):
    model = Net(compiled(Relu().eval(), how))
    converted = convert(model, "2:1")
    converted(x()).sum().backward()
    assert all(p.is_leaf and p.grad is not None for p in converted.parameters())
    assert all(p.grad is None for p in model.parameters())
    expected = F.relu(model.b(model.part(model.a(x()))))
    torch.testing.assert_close(converted(x()), expected)


def test_a_convolution_in_a_compiled_part_has_its_activation_outside():
    model = nn.Sequential(compiled(nn.Sequential(nn.Conv2d(3, 4, 1)), "script"), nn.ReLU())
    assert [site.conv for site in plan_for(model, "1:1").sites] == ["0.conv2d"]
    linear = compiled(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 4)), "script")
    model = nn.Sequential(linear, nn.ReLU())
    assert plan_for_others(model) == [("2.1", "after a linear layer")]


def plan_for_others(model):
    return list(plan_for(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), model), "1:1").others)


def test_an_activation_with_a_fixed_backward_counts():
    model = Net(Part(Own.apply))
    assert ratio_of(model) == (3, 3)
    converted = convert(model, "1:1", [False, False])
    assert ratio_of(converted) == (3, 1)
    torch.testing.assert_close(converted(x()), model.b(model.part(model.a(x()))))


@pytest.mark.parametrize("function", [lambda x: rectified(x), torch.ops.test_fixed.rectify])
def test_what_is_not_looked_into_is_named(function):
    plan = plan_for(Net(Part(function)), "1:1")
    (name, reason), *_ = plan.others
    assert name in ("part.rectified", "part.rectify")
    assert "not looked into" in reason
    assert reason in str(plan)


@pytest.mark.parametrize("reentrant", [True, False])
def test_an_activation_in_a_checkpointed_function_counts(reentrant):
    class Saves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))

        def block(self, x):
            return F.relu(self.b(x))

        def forward(self, x):
            x = checkpoint(self.block, F.relu(self.a(x)), use_reentrant=reentrant)
            return F.relu(self.c(x))

    model = Saves()
    assert ratio_of(model) == (3, 3)
    plan = plan_for(model, "1:1", [False, True])
    assert (plan.kept, plan.fixed, plan.relus, plan.convs) == (1, 1, 2, 3)
    converted = convert(model, "1:1", [False, True])
    assert ratio_of(converted) == (3, 2)
    mine, theirs = x().requires_grad_(), x().requires_grad_()
    expected = F.relu(model.c(model.block(model.a(theirs))))
    torch.testing.assert_close(converted(mine), expected)
    expected.sum().backward()
    converted(mine).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_modules_in_a_checkpointed_sequence_are_sites():
    class Saves(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.parts = nn.Sequential(Part(), Part(), Part())

        def forward(self, x):
            return checkpoint_sequential(self.parts, 2, self.first(x), use_reentrant=False)

    model = Saves()
    assert ratio_of(model) == (4, 3)
    converted = convert(model, "1:1", [False, True, False])
    assert ratio_of(converted) == (4, 1)
    first, second, third = model.parts
    expected = third.n(third.c(second(first.n(first.c(model.first(x()))))))
    torch.testing.assert_close(converted(x()), expected)
    converted(x()).sum().backward()


def test_a_model_in_a_wrapper_is_seen_through():
    model = Net(nn.DataParallel(Part()))
    assert ratio_of(model) == (3, 3)
    torch._dynamo.reset()
    model = Net(torch.compile(Part(), backend="eager"))
    assert ratio_of(model) == (3, 3)


def test_a_compiled_part_is_not_run_for_an_example():
    def refuse(*_):
        raise AssertionError("must not be compiled")

    compiled = torch.compile(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), backend=refuse)
    assert ratio_of(nn.Sequential(compiled), x()) == (1, 1)
    torch._dynamo.reset()
    model = Net(torch.compile(Part(), backend="eager"))
    with pytest.raises(ValueError, match=r"got part in torch\.compile; convert the model first"):
        convert(model, "2:1")
