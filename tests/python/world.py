"""A snapshot of all that a call must leave as it was, except the values that it is to change."""

import gc
import hashlib
import os
import pickle
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

__all__ = ["SURROUNDINGS", "Everything", "generators_now", "unchanged"]


class Everything(nn.Module):
    """A network with all that is easily broken: ties, views, frozen parts, hooks, own modes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.flat = nn.Conv2d(8, 8, 3, padding=1)
        self.frozen = nn.Conv2d(8, 8, 1).requires_grad_(False)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(8, 5)
        self.register_buffer("scale", torch.ones(1))
        self.plain = torch.ones(1)
        self.notes: list[int] = []
        # Parameters that are views of one flat buffer, as optimizers with fused memory make them.
        self.memory = torch.cat([p.detach().flatten() for p in self.flat.parameters()])
        start = 0
        for parameter in self.flat.parameters():
            parameter.data = self.memory[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        x = self.pointwise(self.frozen(self.flat(x).relu()).relu()) * self.scale * self.plain
        y: Tensor = self.fc(self.dropout(x.relu().mean((2, 3))))
        return y


@contextmanager
def _default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def _default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


# What may be around a call of ours.
SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "plain": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default_device": _default_device,
    "default_dtype": _default_dtype,
    "function_mode": torch.overrides.BaseTorchFunctionMode,
    "dispatch_mode": torch.utils._python_dispatch.BaseTorchDispatchMode,
}


@contextmanager
def unchanged(*modules: nn.Module, values: bool = False, generators: bool = True) -> Iterator[None]:
    """Check that nothing is different afterwards.

    Args:
        modules: with all their tensors.
        values: whether the values of the tensors must be the same too.
        generators: whether the random generators must be.
    """
    before = [*_process(generators), *(entry for m in modules for entry in _of(m, values))]
    try:
        yield
    finally:
        after = [*_process(generators), *(entry for m in modules for entry in _of(m, values))]
        assert len(before) == len(after)
        for (name, old), (again, new) in zip(before, after, strict=True):
            assert name == again
            assert old == new, f"{name} has changed from {old} to {new}"


def _process(generators: bool) -> Iterator[tuple[str, Any]]:
    yield "grad mode", torch.is_grad_enabled()
    yield "inference mode", torch.is_inference_mode_enabled()
    for kind in ("cpu", "cuda"):
        yield f"autocast on {kind}", torch.is_autocast_enabled(kind)
        yield f"autocast's dtype on {kind}", torch.get_autocast_dtype(kind)
    yield "autocast's cache", torch.is_autocast_cache_enabled()
    yield "default dtype", torch.get_default_dtype()
    yield "default device", str(torch.get_default_device())
    yield "function modes", list(map(id, _get_current_function_mode_stack()))
    yield "dispatch modes", list(map(id, _get_current_dispatch_mode_stack()))
    yield "threads", (torch.get_num_threads(), torch.get_num_interop_threads())
    yield "running threads", threading.active_count()
    yield "flushed denormals", float(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1)
    yield "deterministic", torch.are_deterministic_algorithms_enabled()
    cudnn: Any = torch.backends.cudnn
    yield "cudnn", (cudnn.enabled, cudnn.benchmark, cudnn.deterministic)
    yield "onednn", torch.backends.mkldnn.enabled
    yield "anomaly mode", torch.is_anomaly_enabled()
    yield "dynamo", torch._dynamo.config.save_config()
    yield "functorch", torch._functorch.config.save_config()
    yield "warning filters", list(warnings.filters)
    yield "interrupt handler", signal.getsignal(signal.SIGINT)
    yield "collector", (gc.isenabled(), gc.get_threshold())
    yield "environment", dict(os.environ)
    yield "folder", os.getcwd()
    yield "module's call", (nn.Module.__call__, nn.Module.__getattr__, nn.Module.__setattr__)
    if generators:
        yield from generators_now().items()


def generators_now() -> dict[str, str]:
    """A digest of the state of each random generator of the process."""
    states = {
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "NumPy's generator": pickle.dumps(np.random.get_state()),
        "Python's generator": pickle.dumps(random.getstate()),
    }
    return {name: hashlib.sha256(state).hexdigest() for name, state in states.items()}


def _of(root: nn.Module, values: bool) -> Iterator[tuple[str, Any]]:
    for path, module in root.named_modules():
        yield f"{path}: object", id(module)
        yield f"{path}: class", type(module)
        yield f"{path}: mode", module.training
        for name, value in module.__dict__.items():
            if isinstance(value, Tensor):
                yield from _of_tensor(f"{path}.{name}", value, values)
            elif name in ("_parameters", "_buffers"):
                for key, tensor in value.items():
                    yield from _of_tensor(f"{path}.{key}", tensor, values)
            elif isinstance(value, (dict, list)):
                yield f"{path}.{name}", (id(value), _items(value))
            else:
                yield f"{path}.{name}", id(value) if not isinstance(value, bool) else value


def _items(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [(key, id(item)) for key, item in items]


def _of_tensor(name: str, tensor: Any, values: bool) -> Iterator[tuple[str, Any]]:
    yield f"{name}: object", (id(tensor), type(tensor))
    if not isinstance(tensor, Tensor):
        return
    yield f"{name}: memory", (tensor.data_ptr(), tensor.storage_offset(), tensor.stride())
    yield f"{name}: storage", (tensor.untyped_storage().data_ptr(), tensor.is_shared())
    yield f"{name}: type", (tensor.shape, tensor.dtype, tensor.device)
    yield f"{name}: gradient", (tensor.requires_grad, tensor.is_leaf, tensor.is_inference())
    yield f"{name}: grad", None if tensor.grad is None else (id(tensor.grad), tensor.grad.tolist())
    yield f"{name}: hooks", _items(tensor._backward_hooks or {})
    if values:
        yield f"{name}: values", tensor.tolist()
