"""A program run by the engine computes what PyTorch computes."""

import copy
import resource
from collections.abc import Callable
from typing import Any

import pytest
import torch
from proprelu import SGD, Constant
from proprelu._core import EngineRunner, TrainState
from proprelu.graph.fallback import call_operation
from proprelu.graph.joint import CaptureError, capture_inference, capture_step
from proprelu.graph.step import StepModule
from proprelu.train.device.layout import channels_last, to_channels_last
from torch import Tensor, nn
from torch.nn import functional as F

LR = 0.5


class Mean(nn.Module):
    """A loss that weighs every element of the output."""

    def forward(self, output: Tensor, labels: Tensor) -> Tensor:
        weights = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape)
        return (output * (0.1 * weights).cos()).mean() + 0.0 * labels.sum()


class Apply(nn.Module):
    """A convolution, a function of its output, and something to be trained behind it."""

    def __init__(self, function: Callable[[Tensor], Tensor], channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.conv(x)).flatten(1)


class Programs:
    """A model's captured programs with its state."""

    def __init__(self, model: nn.Module, images: Tensor, bf16: bool = False) -> None:
        self.labels = torch.zeros(len(images), dtype=torch.int64)
        self.images = images
        step = capture_step(StepModule(model.train(), Mean(), bf16), images, self.labels)
        inference = capture_inference(model.eval(), images, bf16=bf16)
        self.graphs = (step.graph, inference.graph)
        constants = list({**step.constants, **inference.constants}.items())
        self.runner = EngineRunner(step.graph, inference.graph, constants, None, call_operation)
        settings = SGD(lr=LR, momentum=0.0, weight_decay=0.0).settings()
        self.state = TrainState(
            [(n, p.detach(), settings) for n, p in model.named_parameters() if p.requires_grad],
            [
                *((n, p.detach()) for n, p in model.named_parameters() if not p.requires_grad),
                *model.named_buffers(),
            ],
        )

    def step(self, steps: int = 1, seed: int = 0) -> float:
        """The loss of the last step."""
        batches = [(self.images, self.labels)] * steps
        schedule = Constant().settings()
        epochs = self.state.epoch + 1
        torch.manual_seed(1000 * seed + epochs)
        self.state.fit(self.runner, batches, None, None, epochs=epochs, schedule=schedule)
        loss: float = self.state.rows()[-1]["train_loss"]
        return loss

    def operations(self) -> set[str]:
        return {call["name"] for graph in self.graphs for call in graph["calls"]}


def _programs(model: nn.Module, images: Tensor, bf16: bool = False) -> Programs:
    with channels_last(model):
        return Programs(model, images, bf16)


def _check(model: nn.Module, images: Tensor, tolerance: float = 1e-4) -> Programs:
    """One step and one prediction, here and in PyTorch.

    The step has a large rate, so that the change of a parameter is its gradient.
    """
    twin = copy.deepcopy(model).train()
    loss = Mean()(twin(images), torch.zeros(1))
    parameters = [p for p in twin.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= LR * gradient
        expected = twin.eval()(images)
    images = to_channels_last(images)
    with channels_last(model):
        programs = Programs(model, images)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        ours = programs.step()
        predicted = programs.state.predict(programs.runner, images)
        assert ours == pytest.approx(loss.item(), rel=tolerance, abs=1e-6)
        theirs = dict(twin.named_parameters())
        for name, parameter in model.named_parameters():
            change, wanted = parameter - before[name], theirs[name] - before[name]
            scale = max(wanted.abs().max().item(), 1e-6)
            assert (change - wanted).abs().max().item() <= tolerance * scale + 1e-7, name
        buffers = dict(twin.named_buffers())
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(buffer, buffers[name], rtol=tolerance, atol=1e-6, msg=name)
        torch.testing.assert_close(predicted, expected, rtol=tolerance, atol=1e-5)
    return programs


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu_inplace": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
    "hardtanh": lambda: nn.Hardtanh(-0.3, 0.2),
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "elu": nn.ELU,
    "celu": lambda: nn.CELU(0.7),
    "selu": nn.SELU,
    "softplus": lambda: nn.Softplus(beta=2.0),
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "prelu": lambda: nn.PReLU(4),
    "threshold": lambda: nn.Threshold(0.1, 2.0),
    "softmax": lambda: nn.Softmax(1),
    "log_softmax": lambda: nn.LogSoftmax(1),
    "softshrink": lambda: nn.Softshrink(0.1),
    "glu": lambda: nn.GLU(1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    _check(Apply(ACTIVATIONS[name]()), torch.randn(3, 3, 5, 6))


def test_the_fallback_is_taken_where_it_is_needed() -> None:
    """What these two need no C interface has: the test above went through Python."""
    assert "aten::elu" in _programs(Apply(nn.ELU()), torch.randn(2, 3, 5, 5)).operations()
    assert "aten::softplus" in _programs(Apply(nn.Softplus()), torch.randn(2, 3, 5, 5)).operations()


@pytest.mark.parametrize(
    "function",
    [nn.ChannelShuffle(2), nn.ReflectionPad2d(1), nn.ReplicationPad2d(1)],
    ids=lambda module: type(module).__name__,
)
def test_what_torch_cannot_trace_in_channels_last(function: nn.Module) -> None:
    """torch's own trace and its kernels differ in the strides here, and a flatten stumbles."""
    with pytest.raises(CaptureError, match="view size is not compatible"):
        _programs(Apply(function), to_channels_last(torch.randn(3, 3, 5, 6)))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "group_norm": lambda: nn.GroupNorm(2, 4),
    "instance_norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "layer_norm": lambda: nn.LayerNorm([5, 6]),
    "avg_pool": lambda: nn.AvgPool2d(2, padding=1, count_include_pad=False),
    "max_pool": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "lp_pool": lambda: nn.LPPool2d(2, 2),
    "adaptive_avg": lambda: nn.AdaptiveAvgPool2d((2, 3)),
    "adaptive_max": lambda: nn.AdaptiveMaxPool2d(2),
    "conv_transpose": lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1),
    "grouped": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1),
    "dilated": lambda: nn.Conv2d(4, 4, 3, dilation=2, padding=2),
    "strided": lambda: nn.Conv2d(4, 4, (3, 1), stride=(2, 1), bias=False),
    "circular": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    "reflect": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    "same": lambda: nn.Conv2d(4, 4, 3, padding="same"),
    "pixel_shuffle": lambda: nn.PixelShuffle(2),
    "pixel_unshuffle": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.PixelUnshuffle(2)),
    "batch_norm": lambda: nn.BatchNorm2d(4),
    "batch_norm_plain": lambda: nn.BatchNorm2d(4, affine=False),
    "batch_norm_no_statistics": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "batch_norm_slow": lambda: nn.BatchNorm2d(4, momentum=0.01, eps=0.1),
    "batch_norm_relu6": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU6()),
    "shuffled_batch_norm": lambda: nn.Sequential(nn.PixelShuffle(2), nn.BatchNorm2d(1), nn.ReLU()),
    "linear": lambda: nn.Linear(6, 5),
    "flat": lambda: nn.Sequential(nn.Flatten(), nn.Linear(120, 7), nn.BatchNorm1d(7), nn.ReLU()),
    "unfold": lambda: nn.Unfold(2),
    "upsample": lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    "zero_pad": lambda: nn.ZeroPad2d((1, 0, 2, 1)),
    "local_response": lambda: nn.LocalResponseNorm(2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    _check(Apply(LAYERS[name]()), torch.randn(3, 3, 5, 6), tolerance=1e-3)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "cat": lambda x: torch.cat([x, x * 2, x[:, :1]], 1),
    "chunk": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "split": lambda x: x.split([1, 3], 1)[1] - x.split(3, 1)[1],
    "unbind": lambda x: x.unbind(1)[0] * x.unbind(1)[2],
    "stack": lambda x: torch.stack([x, x.relu()]).sum(0),
    "nearest": lambda x: F.interpolate(x, scale_factor=2.0),
    "bilinear": lambda x: F.interpolate(x, (7, 9), mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, (7, 9), mode="bicubic"),
    "pad_constant": lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    "pad_reflect": lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect").relu()[:, :, 1:].sum(3),
    "pad_replicate": lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate").relu().mean((2, 3)),
    "pad_circular": lambda x: F.pad(x, (1, 2, 0, 1), mode="circular"),
    "numbers": lambda x: 1.0 - (2 * x + 3) / 4 - x,
    "alpha": lambda x: torch.add(x, x.relu(), alpha=2) - torch.sub(x, 1.0, alpha=0.5),
    "constant": lambda x: x + torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None],
    "arange": lambda x: x * torch.arange(6) + torch.ones(5, 6) + torch.full((5, 6), 0.5),
    "powers": lambda x: x**2 + (x * x + 1) ** 0.5 + (x.abs() + 1) ** -1.5 + 2.0 ** x.tanh(),
    "exp": lambda x: x.exp() + (x.abs() + 1).log() + x.sin() + (x * x + 1).rsqrt(),
    "norm": lambda x: F.normalize(x, dim=1),
    "clamps": lambda x: x.clamp(-0.1, 0.2) + x.clamp(min=0.1) + x.clamp(max=-0.1),
    "infinite": lambda x: x.clamp(-float("inf"), 0.1) + x.clamp_min(-float("inf")),
    "masked": lambda x: x.masked_fill(x < 0, float("-inf")).amax(1).clamp_min(0),
    "attention": lambda x: (x.masked_fill(x < -0.5, float("-inf")).softmax(1)) * x,
    "where": lambda x: torch.where(x > 0, x * 2, -x),
    "compare": lambda x: x * (x >= 0.1) * (x != 2) * (x <= 3) * (x > -3),
    "max": lambda x: x.max(2).values + x.amin(2) + torch.maximum(x, x.relu()).sum(2),
    "reduce": lambda x: x.mean((2, 3)) + x.var((2, 3)) + x.std((2, 3)) + x.sum((2, 3)),
    "std_keep": lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1),
    "matmul": lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2),
    "einsum": lambda x: torch.einsum("nchw,nchv->nhwv", x, x),
    "bmm": lambda x: torch.bmm(x[:, 0], x[:, 1].transpose(1, 2)),
    "view": lambda x: x.view(len(x), -1)[:, ::3],
    "view_as": lambda x: x.view_as(torch.zeros(3, 20, 6)),
    "permute": lambda x: x.permute(0, 2, 3, 1).contiguous().relu(),
    "flip": lambda x: x.flip(3) + x.roll(1, 2),
    "index": lambda x: x[:, [2, 0]] + x[:, 1:3],
    "take": lambda x: x.index_select(1, torch.tensor([0, 0, 3])),
    "gather": lambda x: x.gather(1, torch.zeros(3, 1, 5, 6, dtype=torch.int64)),
    "cumsum": lambda x: x.cumsum(3),
    "topk": lambda x: x.topk(2, 1).values,
    "expand": lambda x: x[:, :1].expand(-1, 3, -1, -1) * x[:, 1:],
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "inplace": lambda x: x.mul(2).add_(1).relu_(),
    "sort": lambda x: x.sort(1).values,
    "casts": lambda x: x.double().float() + x.to(torch.bfloat16).float() * 0,
    "zeros": lambda x: x + torch.zeros_like(x) + torch.ones_like(x) + x.new_full((6,), 2),
    "logsumexp": lambda x: x.logsumexp(1),
    "scaled_dot": lambda x: F.scaled_dot_product_attention(x, x, x),
    "grid": lambda x: F.grid_sample(x, x[:, :2].tanh().permute(0, 2, 3, 1), align_corners=False),
    "dropout_none": lambda x: F.dropout(x, 0.0, True),
    "gelu_text": lambda x: F.gelu(x, approximate="tanh"),
    "erf": lambda x: torch.erf(x) + torch.sign(x) + torch.floor(x) * 0,
    "lerp": lambda x: torch.lerp(x, x.relu(), 0.3) + torch.addcmul(x, x, x, value=0.5),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    _check(Apply(FUNCTIONS[name]), torch.randn(3, 3, 5, 6), tolerance=1e-3)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (
            nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2)),
            (4, 3, 9),
        ),
        (nn.Sequential(nn.Conv1d(3, 4, 2, stride=2), nn.GELU(), nn.Conv1d(4, 2, 1)), (2, 3, 8)),
        (
            nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.AvgPool3d(2)),
            (2, 2, 6, 5, 7),
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU()), (6, 3, 4)),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
            (5, 1, 6, 6),
        ),
        (nn.Sequential(nn.Conv2d(3, 1, 3), nn.BatchNorm2d(1), nn.ReLU()), (5, 3, 6, 6)),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (8, 3, 3, 3)),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)), (1, 3, 7, 1)),
    ],
    ids=["1d", "1d_stride", "3d", "rows", "one_in", "one_out", "one_pixel", "one_image"],
)
def test_shapes(model: nn.Module, shape: tuple[int, ...]) -> None:
    _check(model, torch.randn(shape), tolerance=1e-3)


class Scaled(nn.Module):
    """Holds tensors that are neither parameters nor buffers, and a buffer that it does not save."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.scale = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1)
        self.shift = torch.tensor(0.25)
        self.register_buffer("offset", torch.randn(4, 1, 1), persistent=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.seen += len(x)
        return (self.conv(x) * self.scale + self.shift + self.offset).flatten(1)


def test_constants_and_buffers() -> None:
    model = Scaled()
    programs = _check(model, torch.randn(3, 3, 6, 6))
    assert model.seen == 3
    roles = {entry["role"] for entry in programs.graphs[0]["inputs"]}
    assert roles == {"parameter", "buffer", "constant", "batch"}


class Residual(nn.Module):
    def __init__(self, relu: bool, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 1)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.down = nn.BatchNorm2d(channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        y = self.norm(self.conv(x)) + self.down(x)
        y = y.relu() if self.relu else y
        return (self.norm(self.conv(y)) + y).relu().flatten(1) + y.flatten(1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("channels", [1, 5, 16, 33])
def test_fused_batch_norms(threads: int, relu: bool, channels: int) -> None:
    torch.set_num_threads(threads)
    model = Residual(relu, channels)
    programs = _check(model, torch.randn(6, 3, 9, 7), tolerance=2e-3)
    listing = programs.runner.step_listing()
    assert listing is not None
    assert "batch_norm_add_relu" in listing


def test_frozen_parameters_have_no_gradient() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    model[0].requires_grad_(False)
    model[1].weight.requires_grad_(False)
    _check(model, torch.randn(3, 3, 6, 6), tolerance=1e-3)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d, nn.AlphaDropout])
def test_dropout_is_drawn_anew_and_by_the_seed(kind: Callable[[float], nn.Module]) -> None:
    model = Apply(kind(0.5))
    images = to_channels_last(torch.randn(4, 3, 5, 5))
    start = copy.deepcopy(model.state_dict())

    def losses(seed: int) -> list[float]:
        model.load_state_dict(start)
        programs = Programs(model, images)
        return [programs.step(seed=seed) for _ in range(3)]

    first = losses(seed=1)
    assert len(set(first)) == 3
    assert losses(seed=1) == first
    assert losses(seed=2) != first


def test_bf16_is_autocast() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)
    )
    images = to_channels_last(torch.randn(4, 3, 8, 8))
    twin = copy.deepcopy(model).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = twin(images)
    loss = Mean()(output.float(), torch.zeros(1))
    programs = Programs(model, images, bf16=True)
    assert programs.step() == pytest.approx(loss.item(), rel=0.02, abs=1e-3)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_memory_does_not_grow() -> None:
    """Each way of calling an operation: the dispatcher, with every kind of argument, and Python."""

    def function(x: Tensor) -> Tensor:
        x = F.gelu(x, approximate="tanh") + F.elu(x)
        x = torch.cat(F.interpolate(x, scale_factor=2.0, mode="bilinear").chunk(2, 1), 1)
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")[:, [1, 0, 3, 2]]
        return F.dropout(F.layer_norm(x, (66, 66)), 0.1, True).to(torch.float64).float()

    model = Apply(function)
    programs = _programs(model, to_channels_last(torch.randn(8, 3, 32, 32)))

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    programs.step(steps=20)
    before = peak()
    programs.step(steps=200)
    assert peak() - before < 20
