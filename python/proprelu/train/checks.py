"""What a trainer refuses, each with one line."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def check_model(model: nn.Module) -> None:
    """Raise `ValueError` for what cannot be trained here."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be an nn.Module, got {type(model).__name__}")
    if isinstance(model, (DataParallel, DistributedDataParallel)):
        raise ValueError(
            f"model must not be wrapped, got {type(model).__name__}; pass model.module"
        )
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError(
            "model has no parameter that requires a gradient; call model.requires_grad_(True)"
        )
    elsewhere = next((p for p in model.parameters() if p.device.type != "cpu"), None)
    if elsewhere is not None:
        raise ValueError(f"model must be on the CPU, got {elsewhere.device}; call model.cpu()")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            raise ValueError(
                f"parameters must be float32, got {parameter.dtype} for {name}; call "
                'model.float(), and ask for bfloat16 by precision="bf16"'
            )


def check_device(device: str) -> None:
    """Raise for a device that there is not."""
    if device in ("auto", "cpu"):
        return
    if not device.startswith("cuda"):
        raise ValueError(f'device must be "auto" or "cpu", got {device!r}')
    if not torch.cuda.is_available():
        raise RuntimeError(
            f'device {device!r} was asked for and no CUDA device is there; use device="cpu", and '
            "see `proprelu doctor` for the reason"
        )
    raise ValueError(f'training on {device!r} is not built yet; use device="cpu"')


def check_precision(precision: str) -> bool:
    """Whether it is bfloat16."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f'precision must be "fp32" or "bf16", got {precision!r}')
    return precision == "bf16"


def check_epochs(epochs: int) -> None:
    """Raise for a number of epochs that is none."""
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a whole number >= 1, got {epochs!r}")
