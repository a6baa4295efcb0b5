"""Saves the weights of a model as safetensors, and loads them."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from proprelu.atomic import written_whole

Pathlike = str | os.PathLike[str]


def save_weights(
    weights: nn.Module | dict[str, Tensor],
    path: Pathlike,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a ``state_dict`` atomically: a failure leaves no partial file.

    Args:
        weights: the model or its ``state_dict``.
        path: the file; its folder is created if absent.
        metadata: texts for the header of the file.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(nn.Linear(2, 3), folder + "/weights.safetensors")
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    # safetensors refuses tensors that share memory, so each is stored as a copy.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    with written_whole(Path(path)) as part:
        part.write_bytes(save(tensors, metadata))


def load_weights(model: nn.Module, path: Pathlike) -> None:
    """Load a file of ``save_weights`` into a model.

    Args:
        model: a model of the same architecture.
        path: the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or belongs to another model.
    """
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} must be a whole safetensors file: {error}") from error
    own = model.state_dict()
    for name in own.keys() | state.keys():
        theirs, ours = state.get(name), own.get(name)
        if theirs is None or ours is None or theirs.shape != ours.shape:
            got = "nothing" if theirs is None else tuple(theirs.shape)
            expected = "nothing" if ours is None else tuple(ours.shape)
            raise ValueError(
                f"{path} belongs to another model: {name} is {got}, expected {expected}; "
                "build the model that the weights were saved from"
            )
    model.load_state_dict(state)
