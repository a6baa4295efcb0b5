"""Checks of a trainer's arguments; each error is one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy


def check_model(model: nn.Module) -> None:
    """Raise ``ValueError`` for a model that cannot be trained."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be an nn.Module, got {type(model).__name__}")
    if isinstance(model, (DataParallel, DistributedDataParallel)):
        raise ValueError(
            f"model must not be wrapped, got {type(model).__name__}; pass model.module"
        )
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ValueError(
                f"model must have weights, got none yet for {name} of a lazy module; run one batch "
                "first, as in model(images)"
            )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise ValueError(
                f'model must have weights, got none for {name}, which is on the device "meta"; '
                'build it on the CPU, or call model.to_empty(device="cpu") and load weights'
            )
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError(
            "model has no parameter that requires a gradient; call model.requires_grad_(True)"
        )
    devices = {p.device for p in model.parameters()}
    if len(devices) > 1 or next(iter(devices)).type not in ("cpu", "cuda"):
        got = ", ".join(sorted(map(str, devices)))
        raise ValueError(f"model must be on the CPU or on one GPU, got {got}; call model.cpu()")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            raise ValueError(
                f"parameters must be float32, got {parameter.dtype} for {name}; call "
                'model.float(), and ask for bfloat16 by precision="bf16"'
            )
    _check_apart(dict(model.named_parameters()))


def _check_apart(parameters: Mapping[str, nn.Parameter]) -> None:
    """Raise ``ValueError`` for two parameters on the same memory: each would undo the other."""
    spans = sorted(
        (p.untyped_storage().data_ptr(), p.storage_offset(), _end(p), name)
        for name, p in parameters.items()
        if p.numel()
    )
    for (storage, _, end, name), (other, start, _, second) in pairwise(spans):
        trained = parameters[name].requires_grad or parameters[second].requires_grad
        if storage == other and start < end and trained:
            raise ValueError(
                f"parameters must have memory of their own, got {name} and {second} on the same; "
                "to tie two weights, assign one Parameter to both modules"
            )


def _end(tensor: Tensor) -> int:
    """One past the last element in the storage."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return int(tensor.storage_offset()) + 1 + sum((size - 1) * stride for size, stride in steps)


def check_names(names: Iterable[str]) -> None:
    """Raise ``ValueError`` for a name that both the model and the loss use."""
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(
                f"the loss and the model's module 'loss' both have {name}; give that module of "
                "the model another name"
            )


def check_precision(precision: str) -> bool:
    """Whether the precision is bfloat16; raise ``ValueError`` for an unknown one."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f'precision must be "fp32" or "bf16", got {precision!r}')
    return precision == "bf16"


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """The value, if it is one of the choices; otherwise raise ``ValueError``."""
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {known}, got {value!r}")
    return value


def check_output(output: Any) -> Any:
    """The choice of an output, if it is one; otherwise raise ``ValueError``."""
    if isinstance(output, bool) or not (
        output is None or isinstance(output, (str, int)) or callable(output)
    ):
        raise ValueError(
            "output must be a key, an index or a function of the model's output, "
            f"got {type(output).__name__}"
        )
    return output
