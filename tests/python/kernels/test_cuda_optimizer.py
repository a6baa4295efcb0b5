"""The optimizers on CUDA, their source run on the CPU: the oracle is torch.optim."""

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


def _bytes(*structures: ctypes.Structure) -> Tensor:
    content = list(b"".join(map(bytes, structures)))
    return torch.tensor(content, dtype=torch.uint8)


class Network:
    """Parameters of odd lengths with all that belongs to them."""

    def __init__(self, states: int, bf16: bool) -> None:
        torch.manual_seed(1)
        self.params = [torch.randn(n) for n in (1, 299, 300, 1001)]
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.grads = [torch.zeros_like(p, dtype=dtype) for p in self.params]
        self.states = [[torch.zeros_like(p) for _ in range(states)] for p in self.params]
        self.averages = [p.clone() for p in self.params]
        self.shadows = [torch.zeros_like(p, dtype=torch.bfloat16) for p in self.params]

    def chunks(self) -> list[Chunk]:
        """The first parameter has no gradient, the last no average and no copy."""
        chunks = []
        for i, param in enumerate(self.params):
            for start in range(0, len(param), CHUNK):

                def at(tensor: Tensor, start: int = start) -> int:
                    return tensor.data_ptr() + start * tensor.element_size()

                last = i == len(self.params) - 1
                states = [at(state) for state in self.states[i]]
                chunks.append(
                    Chunk(
                        param=at(param),
                        grad=None if i == 0 else at(self.grads[i]),
                        state=(ctypes.c_void_p * 2)(*states, *[None] * (2 - len(states))),
                        average=None if last else at(self.averages[i]),
                        shadow=None if last else at(self.shadows[i]),
                        count=min(CHUNK, len(param) - start),
                        grad_is_bf16=int(self.grads[i].dtype == torch.bfloat16),
                        group=i % 2,
                    )
                )
        return chunks


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


@pytest.mark.parametrize("bf16", [False, True])
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
    rates = torch.tensor(lrs)
    for step in range(1, 6):
        for i, (param, grad) in enumerate(zip(theirs, ours.grads, strict=True)):
            grad.copy_(3 * torch.randn(grad.shape))
            param.grad = None if i == 0 else grad.double()
        cursor = torch.tensor([0, 0, step])
        if max_norm is not None:
            nn.utils.clip_grad_norm_(theirs, max_norm)
            kernels.launch("squared_norms", blocks, (threads,), table, sums)
            arguments = (sums, len(chunks), max_norm, coefficient)
            kernels.launch("clip_coefficient", (1,), (threads,), *arguments)
        optimizer.step()
        clip = coefficient if max_norm is not None else None
        arguments = (table, settings, rates, cursor, clip, 0.25)
        kernels.launch_once(kind, blocks, (threads,), *arguments)
        for average, param in zip(averages, theirs, strict=True):
            average += 0.25 * (param.detach() - average)

    for i, (param, expected) in enumerate(zip(ours.params, theirs, strict=True)):
        torch.testing.assert_close(param.double(), expected.detach(), rtol=1e-5, atol=2e-6)
        if i < len(theirs) - 1:
            torch.testing.assert_close(ours.averages[i].double(), averages[i], rtol=1e-5, atol=2e-6)
            assert torch.equal(ours.shadows[i], param.to(torch.bfloat16))
