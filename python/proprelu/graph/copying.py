"""Copies models, also those that hold tensors which are part of an autograd graph."""

import copy
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.graph.mode import quiet


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def copied(model: nn.Module, tensor: Callable[[Tensor], Tensor] = _detached) -> nn.Module:
    """Copy a model with all of its parameters, buffers and attributes.

    Pruning, weight norm, spectral norm and caches leave computed tensors on modules, which torch
    refuses to copy. The copy has their values, without the way in which they were computed.

    Args:
        model: any module.
        tensor: makes the copy of such a tensor.

    Returns:
        The copy.

    Raises:
        ValueError: an attribute cannot be copied; the message names it.
    """
    memo: dict[int, Any] = {}
    for path, module in model.named_modules():
        _check_patch(path, module, set(model.modules()))
        for value in module.__dict__.values():
            _add_computed(value, memo, tensor)
    try:
        with quiet():
            new = copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(
            f"cannot copy {type(model).__name__}: {_culprit(model)} cannot be copied "
            f"({' '.join(str(error).split()).rstrip('.')}); remove it before, or convert with "
            "inplace=True, which changes the model itself"
        ) from error
    _make_leaves(model, new)
    return new


def _make_leaves(model: nn.Module, new: nn.Module) -> None:
    """Cut the copies of a script's parameters off from their originals, as torch does not."""
    for parameter, copied in zip(model.parameters(), new.parameters(), strict=True):
        if parameter.is_leaf and not copied.is_leaf:
            copied.detach_().requires_grad_(parameter.requires_grad)


def _check_patch(path: str, module: nn.Module, modules: set[nn.Module]) -> None:
    """Refuse a forward that was set on a module and would call the original in the copy, too."""
    patched = module.__dict__.get("forward")
    if isinstance(patched, types.FunctionType):
        held = [cell.cell_contents for cell in patched.__closure__ or () if _is_filled(cell)]
        held += [*(patched.__defaults__ or ()), *(patched.__kwdefaults__ or {}).values()]
        held += [patched.__globals__.get(name) for name in patched.__code__.co_names]
        owners = [getattr(value, "__self__", value) for value in held]
        if any(isinstance(owner, nn.Module) and owner in modules for owner in owners):
            raise ValueError(
                f"cannot copy {type(module).__name__}: the forward that was set on "
                f"{path or 'it'} is a function that holds the original module, which the copy "
                "would go on calling; set types.MethodType(function, module), or convert with "
                "inplace=True"
            )


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _add_computed(value: object, memo: dict[int, Any], tensor: Callable[[Tensor], Tensor]) -> None:
    """Put the copies of computed tensors into ``memo``, also of those inside lists and dicts."""
    if isinstance(value, Tensor):
        if value.grad_fn is not None and id(value) not in memo:
            with torch.no_grad():
                memo[id(value)] = tensor(value)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            _add_computed(item, memo, tensor)
    elif isinstance(value, dict):
        for item in value.values():
            _add_computed(item, memo, tensor)


def _culprit(model: nn.Module) -> str:
    """The attribute that cannot be copied, by its path."""
    for path, module in model.named_modules():
        for name, value in module.__dict__.items():
            if name != "_modules":
                try:
                    memo: dict[int, Any] = {id(m): m for m in model.modules()}
                    _add_computed(value, memo, _detached)
                    copy.deepcopy(value, memo)
                except Exception:
                    at = f"{path}.{name}" if path else name
                    return f"its attribute {at}, a {type(value).__name__},"
    return "a part of it"
