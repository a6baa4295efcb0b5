"""Reads files of weights, and the weights in checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor

from proprelu.atomic import read_bytes
from proprelu.weights import seal
from proprelu.weights.record import Record

__all__ = ["NOTES", "Content", "Pathlike", "read"]

Pathlike = str | os.PathLike[str]

# The keys of the notes in the metadata of weights and of checkpoints, and of old checkpoints.
NOTES = "proprelu.weights"
_CHECKPOINT = "proprelu.checkpoint"
_OLD = "proprelu"
_PREFIX = "model."


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        tensors: the tensors of a model by name.
        record: how the model was converted, where the file records it.
        merged: the nodes of the runs that were merged (see ``MergeReport``), for a merged network.
        checkpoint: whether it is a checkpoint, which has each tensor under one of its names only,
            and also buffers that are not persistent and the tensors of the loss.
    """

    tensors: dict[str, Tensor]
    record: Record | None
    checkpoint: bool = False
    merged: tuple[tuple[str, str], ...] | None = None


def read(path: Pathlike) -> Content:
    """The weights in a file of any origin.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged.
    """
    content = read_bytes(Path(path))
    if content.startswith(b"PK"):
        raise ValueError(
            f"{path} must be a safetensors file, but was written by torch.save; "
            "load it with model.load_state_dict(torch.load(path))"
        )
    try:
        tensors = safetensors.torch.load(content)
        metadata = _metadata(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a whole safetensors file: {error}") from error
    if NOTES in metadata or _CHECKPOINT in metadata or seal.KEY in metadata:
        return _own(path, content, tensors, metadata)
    if _OLD in metadata and any(name.startswith(_PREFIX) for name in tensors):
        return Content(_of_checkpoint(tensors), None, True)
    return Content(tensors, None)


def _own(
    path: Pathlike, content: bytes, tensors: dict[str, Tensor], metadata: Mapping[str, str]
) -> Content:
    """The weights in a file that proprelu wrote."""
    try:
        whole = seal.is_whole(content)
        checkpoint = _CHECKPOINT in metadata
        notes = json.loads(metadata[_CHECKPOINT if checkpoint else NOTES])
        plan = notes["facts"].get("plan") if checkpoint else notes["plan"]
        record = None if plan is None else Record.from_dict(plan)
        merged = notes.get("merged")
        merged = None if merged is None else tuple((str(a), str(b)) for a, b in merged)
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{path} is damaged: its SHA-256 sum is another one; use another copy")
    tensors = _of_checkpoint(tensors) if checkpoint else tensors
    return Content(tensors, record, checkpoint, merged)


def _metadata(content: bytes) -> dict[str, str]:
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header.get("__metadata__") or {}


def _of_checkpoint(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the model and its loss, which are stored beside those of the optimizer."""
    return {n.removeprefix(_PREFIX): t for n, t in tensors.items() if n.startswith(_PREFIX)}
