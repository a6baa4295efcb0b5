"""Helpers that read which function a graph node calls, and with which arguments."""

import inspect
import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import fx


def calls(node: fx.Node, functions: Collection[object]) -> bool:
    """Whether ``node`` calls one of ``functions``."""
    return node.op == "call_function" and node.target in functions


def aten(*names: str) -> set[object]:
    """Operations of ATen, and all overloads of them; exported graphs call the latter."""
    packets = [getattr(torch.ops.aten, name) for name in names if hasattr(torch.ops.aten, name)]
    overloads = {getattr(packet, name) for packet in packets for name in packet.overloads()}
    return {*packets, *overloads}


def called_function(node: fx.Node) -> Any:
    """The function that ``node`` calls; for a method, that of ``torch.Tensor``; else None."""
    if node.op == "call_method":
        return getattr(torch.Tensor, str(node.target), None)
    return node.target if node.op == "call_function" else None


def function_name(function: Any) -> str:
    """The name of a function; that of the operation for an overload of ATen."""
    if isinstance(function, torch._ops.OpOverload):
        return function._schema.name.rpartition("::")[2]
    return str(getattr(function, "__name__", ""))


def argument(node: fx.Node, position: int, name: str) -> object:
    """The argument at ``position`` or called ``name``, None if it is left out."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name)


def in_place_name(name: str) -> bool:
    """Whether this is torch's name for an operation that overwrites its input (``relu_``)."""
    return (name.endswith("_") and not name.endswith("__")) or name == "__setitem__"


def function_inplace(node: fx.Node) -> bool:
    """Whether the called function overwrites its first argument."""
    function = node.target
    name = function_name(function)
    if getattr(function, "__module__", "") == "_operator":
        return name in ("setitem",) or (name.startswith("i") and hasattr(operator, f"__{name}__"))
    return in_place_name(name) or arguments(node).get("inplace") is True


def arguments(node: fx.Node) -> dict[str, object]:
    """The called function's arguments by name; empty if its signature cannot be read."""
    try:
        bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return {}
    return dict(bound.arguments)
