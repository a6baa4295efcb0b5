"""Weights in and out of files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn


def save_weights(model: nn.Module, path: Path, notes: Mapping[str, Any]) -> None:
    """Write a `state_dict` as safetensors, atomically, with `notes` as its metadata `proprelu`.

    Raises:
        OSError: the file can't be written.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    data = safetensors.torch.save(tensors, metadata={"proprelu": json.dumps(notes)})
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a `state_dict` from a file of safetensors or of torch.save.

    Raises:
        OSError: the file can't be read.
        ValueError: it holds no weights, or those of another model.
    """
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load(path.read_bytes())
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(tensors)
    except OSError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} must hold the weights of this model: {why}") from None
