"""Whatever Python does in each step of a plain loop happens in each step of ``fit``."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from proprelu import SGD, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

IMAGES = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 5
STEPS = 6


class Net(nn.Module):
    """Two convolutions; ``middle`` is what differs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.fc = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 5)
        self.calls, self.sizes = 0, []

    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.first(x)).relu()
        return self.fc(self.second(self.middle(x)).relu().mean((2, 3)))


class LayerDrop(Net):
    def middle(self, x: Tensor) -> Tensor:
        return self.second(x) if not self.training or random.random() < 0.5 else x


class Counting(Net):
    def middle(self, x: Tensor) -> Tensor:
        self.calls += self.training
        self.sizes.append(x.shape[0])
        return x * (0.5 if self.calls > 3 else 2.0)


class Moving(Net):
    """Replaces a buffer in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def middle(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 2, 3))
        return x - self.mean.view(-1, 1, 1)


class Clipping(Net):
    """Changes its weights in the forward."""

    def middle(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.second.weight.clamp_(-0.05, 0.05)
        return x


class Renormed(Net):
    """Assigns to the data of a weight and of a buffer."""

    def middle(self, x: Tensor) -> Tensor:
        self.second.weight.data = torch.renorm(self.second.weight.data, 2, 0, 0.5)
        self.norm.running_mean.data = self.norm.running_mean.data * 0.9
        return x


class Seeding(Net):
    """Projects with the same random numbers in each step."""

    def middle(self, x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return x * torch.rand(1, 6, 1, 1)


class Hooking(Net):
    """Hooks a tensor and takes a gradient itself."""

    def middle(self, x: Tensor) -> Tensor:
        if self.training:
            x.register_hook(lambda gradient: 0.5 * gradient)
            (slope,) = torch.autograd.grad(self.second(x).sum(), x, create_graph=True)
            x = x + 0.1 * slope
        return x


class Checkpointed(Net):
    """Its statistics move twice in each step."""

    def middle(self, x: Tensor) -> Any:
        return checkpoint(self.norm, x, use_reentrant=False)


class Watched(torch.autograd.Function):
    """The identity; its backward keeps the largest gradient in a buffer, as for a scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, largest: Tensor, follows: bool) -> Tensor:
        ctx.largest, ctx.follows = largest, follows
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        largest = gradient.abs().amax()
        if ctx.follows:
            ctx.largest.mul_(0.5).add_(0.5 * largest)
        else:
            ctx.largest.copy_(largest)
        return gradient * 1.5, None, None


class Watching(Net):
    """Its backward writes into a buffer."""

    def __init__(self, follows: bool) -> None:
        super().__init__()
        self.register_buffer("largest", torch.zeros(()))
        self.follows = follows

    def middle(self, x: Tensor) -> Any:
        return Watched.apply(x, self.largest, self.follows)


class Thawing(Net):
    """Keeps its batch norm in evaluation mode by an own ``train``."""

    def train(self, mode: bool = True) -> "Thawing":
        super().train(mode)
        self.norm.eval()
        return self


def _hooked(register: Callable[[Net], Any]) -> Callable[[], Net]:
    def make() -> Net:
        net = Net()
        register(net)
        return net

    return make


def _noise(gradient: Tensor) -> Tensor:
    return gradient * random.random()


def _halve(parameter: nn.Parameter) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(0.5)


EAGER: dict[str, Callable[[], Net]] = {
    "layer drop": LayerDrop,
    "counting": Counting,
    "clipped weights": Clipping,
    "renormed weights": Renormed,
    "a seed": Seeding,
    "checkpoint": Checkpointed,
    "watched gradient": lambda: Watching(False),
    "followed gradient": lambda: Watching(True),
    "momentum of None": _hooked(lambda net: setattr(net.norm, "momentum", None)),
    "gradient hook": _hooked(lambda net: net.second.weight.register_hook(_noise)),
    "hook after": _hooked(lambda n: n.second.weight.register_post_accumulate_grad_hook(_halve)),
    "backward hook": _hooked(
        lambda net: net.second.register_full_backward_hook(lambda m, gi, go: (gi[0] * 0.5,))
    ),
    "counting hook": _hooked(
        lambda net: net.second.register_forward_hook(
            lambda m, args, out: net.sizes.append(1) or out * len(net.sizes)
        )
    ),
}
CAPTURED: dict[str, Callable[[], Net]] = {
    "moving buffer": Moving,
    "own train": Thawing,
    "hooked tensor": Hooking,
    "frozen norm": _hooked(lambda net: net.norm.eval()),
    "spectral norm": _hooked(lambda net: spectral_norm(net.second)),
    "pure hook": _hooked(lambda net: net.second.register_forward_hook(lambda m, a, out: 2 * out)),
    "tied": _hooked(lambda net: setattr(net, "again", nn.Sequential(net.second, net.norm))),
}


def _made(case: str) -> Net:
    """Not a copy, which would have the hooks of the original."""
    torch.manual_seed(0)
    net = (EAGER | CAPTURED)[case]()
    return net.train() if case == "own train" else net


def _plain(net: Net) -> None:
    """Two epochs, without a call of ``train`` that would thaw what is frozen."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        for images, labels in zip(IMAGES.split(8), LABELS.split(8), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()


@pytest.mark.parametrize("case", [*EAGER, *CAPTURED])
def test_a_training_is_the_plain_loop(case: str) -> None:
    net, twin = _made(case), _made(case)
    random.seed(3)
    _plain(twin)
    drawn = random.getstate()
    random.seed(3)
    settings = SGD(lr=0.1, momentum=0.9, weight_decay=0.0)
    trainer = Trainer(net, settings, schedule="constant", progress=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(DataLoader(TensorDataset(IMAGES, LABELS), 8), epochs=2)
    assert len(caught) == (case in EAGER), [str(warning.message) for warning in caught]
    assert (trainer.program is None) == (case in EAGER)
    assert (net.calls, net.sizes, random.getstate()) == (twin.calls, twin.sizes, drawn)
    expected = twin.state_dict()
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=2e-5, msg=name)
    assert [m.training for m in net.modules()] == [m.training for m in twin.modules()]
    assert all(parameter.grad is None for parameter in net.parameters())


seen: set[tuple[int, ...]] = set()


def test_what_each_forward_notes_is_there_afterwards() -> None:
    class Noting(Net):
        def middle(self, x: Tensor) -> Tensor:
            seen.add(tuple(x.shape[1:]))
            self.width = x.shape[3]
            return x

    model = Noting()
    seen.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is captured
        Trainer(model, progress=False).fit((IMAGES, LABELS), epochs=1, batch_size=8)
    assert seen == {(6, 8, 8)}
    assert model.width == 8


@pytest.mark.parametrize("read", [lambda x: x.stride(1), lambda x: x.is_contiguous()])
def test_a_forward_that_reads_the_memory_layout_is_warned_of(read) -> None:
    class Strided(Net):
        def middle(self, x: Tensor) -> Tensor:
            return x if read(x) else 2 * x

    trainer = Trainer(Strided(), progress=False)
    with pytest.warns(UserWarning, match="reads the memory layout of a tensor, .*lambda x: x"):
        trainer.fit((IMAGES, LABELS), epochs=1, batch_size=8)
