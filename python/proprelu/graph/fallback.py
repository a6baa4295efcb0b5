"""Runs one torch operation by name: the core calls this for the few that it cannot run itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["call_operation", "draws_numbers"]


def call_operation(name: str, overload: str, args: Sequence[Any]) -> list[Tensor | None]:
    """Call one operation of torch.

    Args:
        name: the operation with its namespace, such as ``"aten::elu"``.
        overload: the name of the overload, empty for the default one.
        args: every argument of the schema, in order.

    Returns:
        One result for each return value of the schema, or the items of a list of tensors.
    """
    function = _function(name, overload)
    positional, keywords = [], {}
    for argument, value in zip(function._schema.arguments, args, strict=True):
        if argument.kwarg_only:
            keywords[argument.name] = value
        else:
            positional.append(value)
    results = function(*positional, **keywords)
    return list(results) if isinstance(results, (tuple, list)) else [results]


def draws_numbers(name: str, overload: str) -> bool:
    """Whether an operation of torch draws random numbers."""
    return torch.Tag.nondeterministic_seeded in _function(name, overload).tags


def _function(name: str, overload: str) -> Any:
    namespace, _, operation = name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), operation)
    return getattr(packet, overload or "default")
