"""Saves the weights of a model as safetensors, and loads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from proprelu import _core
from proprelu.atomic import written_whole
from proprelu.graph import copied
from proprelu.merge import MergeReport, merge_as
from proprelu.weights import seal
from proprelu.weights.content import NOTES, Content, Pathlike, read
from proprelu.weights.record import Record, converted_as, record_of

__all__ = ["check_suffix", "load", "load_weights", "save_merged", "save_state", "save_weights"]

# The suffixes under which programs expect what torch.save writes.
_PICKLED = (".pt", ".pth", ".bin")


def save_weights(
    weights: nn.Module | dict[str, Tensor],
    path: Pathlike,
    metadata: dict[str, str] | None = None,
    *,
    ratio: str | None = None,
) -> None:
    """Write a ``state_dict`` as safetensors, whole or not at all.

    With a model the file also records which activations are dropped, so that ``load`` can convert
    another model likewise and ``load_weights`` refuses a model of another ratio. The header has
    the class of the model, the versions of proprelu and torch, and a SHA-256 sum, by which damage
    is noticed. Any reader of safetensors reads the file: ``safetensors.torch.load_file(path)``.

    Args:
        weights: the model or its ``state_dict``.
        path: the file, ``.safetensors``; its folder is created if absent.
        metadata: further texts for the header of the file.
        ratio: the ratio that was asked for, for the record.

    Raises:
        OSError: the file cannot be written.
        ValueError: the suffix is one of ``torch.save``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(nn.Linear(2, 3), folder + "/weights.safetensors")
    """
    if isinstance(weights, nn.Module):
        save_state(weights, weights.state_dict(), path, metadata, ratio=ratio)
    else:
        _save(weights, path, None, None, metadata, ratio)


def save_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: Pathlike,
    metadata: dict[str, str] | None = None,
    *,
    ratio: str | None = None,
) -> None:
    """As ``save_weights``, with values for the model that it does not hold itself."""
    _save(state, path, record_of(model), type(model).__name__, metadata, ratio)


def save_merged(
    merged: nn.Module,
    model: nn.Module,
    path: Pathlike,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write the weights of a merged network, and how to merge such a model again.

    Args:
        merged: the result of ``proprelu.merge``, with its ``report``.
        model: the model that was merged.
        path: the file, ``.safetensors``; ``load(path, model, example_input)`` reads it.
        metadata: further texts for the header of the file.

    Raises:
        OSError: the file cannot be written.
        ValueError: the suffix is one of ``torch.save``, or ``merged`` has no report.
    """
    report = getattr(merged, "report", None)
    if not isinstance(report, MergeReport):
        raise ValueError(
            f"merged must be the result of proprelu.merge, got {type(merged).__name__} without its "
            "report; save_weights saves other models"
        )
    name = type(model).__name__
    _save(merged.state_dict(), path, record_of(model), name, metadata, None, report.nodes)


def load(path: Pathlike, model: nn.Module, example_input: object = None) -> nn.Module:
    """Convert a model as it was converted whose weights a file holds, and load them.

    Args:
        path: a file of ``save_weights``, ``save_merged``, ``Trainer.save_weights``, ``proprelu
            train``, ``proprelu convert`` or ``proprelu merge``, or a checkpoint of ``Trainer.fit``.
        model: a model of the same architecture, of any ratio; it is not changed.
        example_input: see ``plan_for``; a merged network needs one.

    Returns:
        A copy of the model, with the activations dropped that are dropped in the file and the
        weights of the file. If the file does not record any (it is of another program), the copy
        has the activations of ``model``. If the file is of a merged network, so is the copy.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or belongs to another model.

    Example:
        >>> import proprelu, tempfile
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     proprelu.save_weights(proprelu.convert(net, "2:1"), folder + "/a.safetensors")
        ...     loaded = load(folder + "/a.safetensors", net)
        >>> print(proprelu.ratio_of(loaded))
        2:1
    """
    content = read(path)
    plan = content.record
    if plan is None or plan == record_of(model, example_input):
        result = copied(model)
    else:
        result = converted_as(model, plan, example_input)
    if content.merged is not None:
        if example_input is None:
            raise ValueError(
                f"example_input must be given to load a merged network, as in {path}; give a small "
                "batch"
            )
        result = merge_as(result.eval(), example_input, content.merged)
    _fill(result, content, path)
    return result


def load_weights(model: nn.Module, path: Pathlike) -> None:
    """Load the weights of a file into a model, which has to be of the same ratio.

    Args:
        model: a model of the same architecture; ``load`` converts one of another ratio.
        path: a safetensors file with the names of the model's ``state_dict``, or a checkpoint of
            ``Trainer.fit``, from which the model's weights are taken and not their averages.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or belongs to another model or ratio. The model is unchanged.
    """
    content = read(path)
    recorded = content.record is not None and content.merged is None
    own = record_of(model) if recorded else None
    if own is not None and own != content.record:
        raise ValueError(_other_ratio(path, content.record, own))
    _fill(model, content, path)


def check_suffix(name: str, path: Pathlike) -> None:
    """Refuse a name under which a program expects what ``torch.save`` writes.

    Args:
        name: the argument, for the error.
        path: its value.

    Raises:
        ValueError: the suffix is ``.pt``, ``.pth`` or ``.bin``.
    """
    if Path(path).suffix.lower() in _PICKLED:
        raise ValueError(
            f"{name} must end in .safetensors, got {path}: the file would not be what torch.load "
            "reads; for that call torch.save(model.state_dict(), path)"
        )


def _save(
    state: Mapping[str, Tensor],
    path: Pathlike,
    record: Record | None,
    name: str | None,
    metadata: dict[str, str] | None,
    ratio: str | None,
    merged: tuple[tuple[str, str], ...] | None = None,
) -> None:
    check_suffix("path", path)
    notes = {
        "plan": None if record is None else record.to_dict(),
        "asked": ratio,
        "merged": merged,
        "class": name,
        "proprelu": _core.__version__,
        "torch": torch.__version__,
    }
    header = {**(metadata or {}), NOTES: json.dumps(notes), seal.KEY: seal.BLANK}
    # safetensors refuses tensors that share memory, so each is stored as a copy.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    content = seal.sealed(safetensors.torch.save(tensors, header))
    with written_whole(Path(path)) as part:
        part.write_bytes(content)


def _fill(model: nn.Module, content: Content, path: Pathlike) -> None:
    state = content.tensors
    own = model.state_dict(keep_vars=True)
    names = {id(tensor): name for name, tensor in own.items() if name in state}
    _check_prefix({*own}, {*state}, path)
    # A checkpoint has one name for tensors that are tied.
    found = {name: state.get(names.get(id(tensor), name)) for name, tensor in own.items()}
    found |= {name: state[name] for name in _others(model, content) - own.keys()}
    for name, theirs in found.items():
        ours = own.get(name)
        if theirs is None or ours is None or _kind(theirs) != _kind(ours):
            got, expected = _shown(theirs, "missing"), _shown(ours, "no such tensor")
            raise ValueError(
                f"{path} belongs to another model: {name} is {got}, expected {expected}; build the "
                "model that the weights were saved from"
            )
    model.load_state_dict(found)


def _check_prefix(own: set[str], names: set[str], path: Pathlike) -> None:
    """Refuse names that differ by a prefix alone, which wrappers of models add."""
    shorter, longer = sorted((own, names), key=lambda keys: sum(map(len, keys)))
    # A prefix keeps the order of names.
    prefix = min(longer, default="").removesuffix(min(shorter, default=""))
    if prefix and longer == {prefix + name for name in shorter}:
        side = "file" if longer is names else "model"
        raise ValueError(
            f"{path} must have the names of the model, got {prefix!r} before those of the {side}; "
            "DataParallel and torch.compile add such a prefix: save and load the model inside, "
            "model.module or model._orig_mod"
        )


def _others(model: nn.Module, content: Content) -> set[str]:
    """The names in a file, without those that only a checkpoint has."""
    if not content.checkpoint:
        return {*content.tensors}
    passing = {name for name, _ in model.named_buffers()}  # also those that are not persistent
    return {n for n in content.tensors if n not in passing and not n.startswith("loss.")}


def _kind(tensor: Tensor) -> tuple[torch.Size, bool]:
    """What has to agree; a precision is converted."""
    return tensor.shape, tensor.is_floating_point()


def _shown(tensor: Tensor | None, absent: str) -> str:
    return absent if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def _other_ratio(path: Pathlike, theirs: Record | None, ours: Record) -> str:
    assert theirs is not None
    same = f", with others dropped or removed ({_difference(theirs, ours)})"
    return (
        f"{path} holds the weights of a model of ratio {theirs.ratio}, got a model of ratio "
        f"{ours.ratio}{same if theirs.ratio == ours.ratio else ''}; "
        "proprelu.load(path, model) converts it and loads them"
    )


def _difference(theirs: Record, ours: Record) -> str:
    removed = {each.path for each in theirs.removed} ^ {each.path for each in ours.removed}
    return next(iter(sorted(({*theirs.dropped} ^ {*ours.dropped}) | removed)), "others")
