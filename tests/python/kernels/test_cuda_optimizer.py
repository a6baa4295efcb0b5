"""The CUDA kernels of optimizers, compared with torch.optim."""

import ctypes
from typing import Any

import pytest
import torch
from cuda_kernels import Kernels
from torch import Tensor, nn

SOURCE = "optimizer"
CHUNK = 300


class Chunk(ctypes.Structure):
    _fields_ = [
        ("param", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("state", ctypes.c_void_p * 2),
        ("average", ctypes.c_void_p),
        ("shadow", ctypes.c_void_p),
        ("count", ctypes.c_int),
        ("grad_is_bf16", ctypes.c_int),
        ("group", ctypes.c_int),
        ("unused", ctypes.c_int),
    ]


class Sgd(ctypes.Structure):
    _fields_ = [
        ("momentum", ctypes.c_float),
        ("damp", ctypes.c_float),
        ("weight_decay", ctypes.c_float),
        ("nesterov", ctypes.c_int),
        ("maximize", ctypes.c_int),
    ]


class AdamW(ctypes.Structure):
    _fields_ = [
        ("beta1", ctypes.c_double),
        ("beta2", ctypes.c_double),
        ("eps", ctypes.c_float),
        ("weight_decay", ctypes.c_float),
        ("maximize", ctypes.c_int),
        ("unused", ctypes.c_int),
    ]


class Copy(ctypes.Structure):
    _fields_ = [
        ("from_", ctypes.c_void_p),
        ("to", ctypes.c_void_p),
        ("count", ctypes.c_int),
        ("unused", ctypes.c_int),
    ]


def _bytes(*structures: ctypes.Structure) -> Tensor:
    content = list(b"".join(map(bytes, structures)))
    return torch.tensor(content, dtype=torch.uint8)


def _at(tensor: Tensor, start: int) -> int:
    return tensor.data_ptr() + start * tensor.element_size()


class Network:
    """Parameters of odd lengths with their gradients, states, averages and copies."""

    def __init__(self, states: int, bf16: bool) -> None:
        torch.manual_seed(1)
        self.params = [torch.randn(n) for n in (1, 299, 300, 1001)]
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.grads = [torch.zeros_like(p, dtype=dtype) for p in self.params]
        self.states = [[torch.zeros_like(p) for _ in range(states)] for p in self.params]
        self.averages = [p.clone() for p in self.params]
        self.shadows = [torch.zeros_like(p, dtype=torch.bfloat16) for p in self.params]

    def chunks(self) -> list[Chunk]:
        """The chunks; the first parameter has no gradient, the last no average and no copy."""
        chunks = []
        for i, param in enumerate(self.params):
            for start in range(0, len(param), CHUNK):
                last = i == len(self.params) - 1
                states = [_at(state, start) for state in self.states[i]]
                chunks.append(
                    Chunk(
                        param=_at(param, start),
                        grad=None if i == 0 else _at(self.grads[i], start),
                        state=(ctypes.c_void_p * 2)(*states, *[None] * (2 - len(states))),
                        average=None if last else _at(self.averages[i], start),
                        shadow=None if last else _at(self.shadows[i], start),
                        count=min(CHUNK, len(param) - start),
                        grad_is_bf16=int(self.grads[i].dtype == torch.bfloat16),
                        group=i % 2,
                    )
                )
        return chunks

    def tensors(self) -> list[Tensor]:
        """The tensors that a step changes."""
        states = [state for states in self.states for state in states]
        return [*self.params, *states, *self.averages, *self.shadows]


SGD: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    {"momentum": 0.5, "dampening": 0.1, "maximize": True},
]
ADAMW: list[dict[str, Any]] = [
    {},
    {"betas": (0.4, 0.9), "eps": 1e-6, "weight_decay": 0.1},
    {"maximize": True},
]


def _settings(kind: str, options: dict[str, Any]) -> ctypes.Structure:
    maximize = int(options.get("maximize", False))
    if kind == "adamw":
        beta1, beta2 = options.get("betas", (0.9, 0.999))
        eps, decay = options.get("eps", 1e-8), options.get("weight_decay", 1e-2)
        return AdamW(beta1, beta2, eps, decay, maximize)
    damp = 1 - options.get("dampening", 0.0)
    nesterov, decay = int(options.get("nesterov", False)), options.get("weight_decay", 0.0)
    return Sgd(options.get("momentum", 0.0), damp, decay, nesterov, maximize)


@pytest.mark.parametrize(("bf16", "warmup"), [(False, False), (True, True)])
@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize(
    ("kind", "options"), [*(("sgd", o) for o in SGD), *(("adamw", o) for o in ADAMW)], ids=str
)
def test_as_torch(
    kernels: Kernels,
    kind: str,
    options: dict[str, Any],
    max_norm: float | None,
    bf16: bool,
    warmup: bool,
) -> None:
    torch.manual_seed(0)
    lrs = [0.1, 0.02] if kind == "sgd" else [0.01, 0.002]
    states = 2 if kind == "adamw" else int(bool(options.get("momentum")))
    ours = Network(states, bf16)
    theirs = [nn.Parameter(p.double()) for p in ours.params]
    groups = [{"params": theirs[g::2], "lr": lrs[g]} for g in range(2)]
    make = torch.optim.AdamW if kind == "adamw" else torch.optim.SGD
    optimizer = make(groups, **options)
    averages = [p.detach().clone() for p in theirs]

    chunks = ours.chunks()
    blocks, threads = (len(chunks),), kernels.threads
    table = _bytes(*chunks)
    settings = _bytes(*[_settings(kind, options)] * 2)
    sums, coefficient = torch.zeros(len(chunks), dtype=torch.float64), torch.zeros(1)
    rates = torch.tensor(lrs, dtype=torch.float64)
    factors = torch.tensor([1.0, 0.7, 0.1, 1.3, 0.4], dtype=torch.float64)
    for step, factor in enumerate(factors.tolist(), 1):
        for group, lr in zip(optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr * factor
        for i, (param, grad) in enumerate(zip(theirs, ours.grads, strict=True)):
            grad.copy_(3 * torch.randn(grad.shape))
            param.grad = None if i == 0 else grad.double()
        cursor = torch.tensor([0, step - 1, step, 0])
        if max_norm is not None:
            nn.utils.clip_grad_norm_(theirs, max_norm)
            kernels.launch("squared_norms", blocks, (threads,), table, sums)
            arguments = (sums, len(chunks), max_norm, coefficient)
            kernels.launch("clip_coefficient", (1,), (threads,), *arguments)
        optimizer.step()
        clip = coefficient if max_norm is not None else None
        arguments = (table, settings, rates, factors, len(factors), cursor, clip)
        kernels.launch_once(kind, blocks, (threads,), *arguments, 0.75, int(warmup))
        decay = min(0.75, (1 + step) / (10 + step)) if warmup else 0.75
        for average, param in zip(averages, theirs, strict=True):
            average += (1 - decay) * (param.detach() - average)

    for i, (param, expected) in enumerate(zip(ours.params, theirs, strict=True)):
        torch.testing.assert_close(param.double(), expected.detach(), rtol=1e-5, atol=2e-6)
        if i < len(theirs) - 1:
            torch.testing.assert_close(ours.averages[i].double(), averages[i], rtol=1e-5, atol=2e-6)
            assert torch.equal(ours.shadows[i], param.to(torch.bfloat16))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("failed", [0, 3])
def test_a_failed_training_stays_as_it_is(kernels: Kernels, kind: str, failed: int) -> None:
    network = Network(2, False)
    for grad in network.grads:
        grad.normal_()
    before = [tensor.clone() for tensor in network.tensors()]
    chunks, settings = network.chunks(), [_settings(kind, {"momentum": 0.9})] * 2
    rates = torch.tensor([0.1, 0.1], dtype=torch.float64)
    factors, cursor = torch.ones(1, dtype=torch.float64), torch.tensor([0, 0, 4, failed])
    arguments = (_bytes(*chunks), _bytes(*settings), rates, factors, 1, cursor, None)
    kernels.launch_once(kind, (len(chunks),), (kernels.threads,), *arguments, 0.75, 0)
    same = all(map(torch.equal, network.tensors(), before))
    assert same == bool(failed)


@pytest.mark.parametrize("failed", [0, 3])
def test_buffers_take_over_their_new_values(kernels: Kernels, failed: int) -> None:
    sizes = [1, 31, 299, 1001]
    new, old = [torch.rand(n) for n in sizes], [torch.zeros(n + 1) for n in sizes]
    copies = [
        Copy(_at(source, start), _at(target, start), min(CHUNK, len(source) - start))
        for source, target in zip(new, old, strict=True)
        for start in range(0, len(source), CHUNK)
    ]
    cursor = torch.tensor([0, 0, 4, failed])
    kernels.launch_once("take_over", (len(copies),), (kernels.threads,), _bytes(*copies), cursor)
    for source, target in zip(new, old, strict=True):
        expected = torch.zeros_like(source) if failed else source
        assert target.tolist() == [*expected.tolist(), 0.0]
