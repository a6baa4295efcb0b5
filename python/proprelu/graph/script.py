"""Reads what ``torch.jit`` has compiled, which is counted, but cannot be changed."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx

from proprelu.graph.where import is_own

SCRIPT = "inside a module that torch.jit has compiled"
UNREAD = "not looked into: torch.jit has compiled it in a form that is not understood"
OPERATION = "not looked into: torch.fx.wrap or a library has made it one operation"
# Keys of a node's meta: why an activation has to stay, and why a part was not looked into.
FIXED, OPAQUE = "fixed", "opaque"
_SPACES = ("aten", "prim", "prims", "proprelu")


class _Part(str):
    """The path of a module inside of a script."""


class Reader:
    """Adds the operations of a script to a graph; they are not run, and are no events.

    Args:
        script: the module.
        path: its path in the model.
        graph: gets the operations.
    """

    def __init__(self, script: torch.jit.ScriptModule, path: str, graph: fx.Graph) -> None:
        self.script, self.path, self.graph = script, path, graph
        self.values: dict[str, Any] = {}

    def read(self, args: Sequence[Any], kwargs: dict[str, Any]) -> fx.Node | None:
        """Add all operations; returns the result, None where the script is not understood."""
        operations = self.script._c._get_method("forward").inlined_graph.copy()
        torch._C._jit_pass_constant_propagation(operations)
        own, *inputs = operations.inputs()
        self.values[own.debugName()] = _Part()
        for number, value in enumerate(inputs):
            name = value.debugName().partition(".")[0]
            given = args[number] if number < len(args) else kwargs.get(name)
            self.values[value.debugName()] = given
        (result,) = self._block(operations)
        return _first_node(result)

    def _block(self, block: Any) -> list[Any]:
        for node in block.nodes():
            outputs = [value.debugName() for value in node.outputs()]
            self.values |= zip(outputs, self._outputs(node, len(outputs)), strict=True)
        return [self._value(value) for value in block.outputs()]

    def _value(self, value: Any) -> Any:
        return self.values[value.debugName()]

    def _outputs(self, node: Any, count: int) -> Sequence[Any]:
        kind, inputs = node.kind(), [self._value(value) for value in node.inputs()]
        if kind == "prim::Constant":
            return [node.output().toIValue()]
        if kind == "prim::GetAttr":
            return [self._attribute(inputs[0], node)]
        if kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            return [inputs]
        if kind in ("prim::ListUnpack", "prim::TupleUnpack") and isinstance(inputs[0], list):
            return inputs[0]
        if kind == "prim::If":
            return self._branch(inputs[0], list(node.blocks()))
        if kind == "prim::Loop":
            return self._loop(inputs[2:], node)
        return self._operation(node, inputs, count)

    def _attribute(self, part: Any, node: Any) -> Any:
        path = f"{part}.{node.s('name')}".lstrip(".")
        if node.output().type().kind() == "ClassType":
            return _Part(path)
        value = operator.attrgetter(path)(_Attributes(self.script._c))
        if isinstance(value, Tensor):
            return self._node("get_attr", f"{self.path}.{path}", ())
        return value

    def _branch(self, condition: Any, blocks: list[Any]) -> list[Any]:
        if isinstance(condition, fx.Node):  # either is possible: the one that does more counts
            blocks.sort(key=lambda block: len(list(block.nodes())))
            return self._block(blocks[-1])
        return self._block(blocks[not condition])

    def _loop(self, carried: list[Any], node: Any) -> list[Any]:
        (body,) = node.blocks()
        number, *inputs = body.inputs()
        self.values[number.debugName()] = 0
        self.values |= zip((value.debugName() for value in inputs), carried, strict=True)
        return self._block(body)[1:]

    def _operation(self, node: Any, inputs: list[Any], count: int) -> Sequence[Any]:
        target: Any = _called(node)
        if _first_node(inputs) is None and callable(target):
            try:
                found = target(*inputs)
            except Exception:
                found = None
            if found is not None and count == 1:
                return [found]
        result = self._node("call_function", target, tuple(inputs))
        if count == 1:
            return [result]
        return [self._node("call_function", operator.getitem, (result, i)) for i in range(count)]

    def _node(self, op: str, target: Any, args: tuple[Any, ...]) -> fx.Node:
        node = self.graph.create_node(op, target, args, {})
        node.meta |= {"scope": self.path, FIXED: SCRIPT}
        return node


class _Attributes:
    """The attributes of a script's modules."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = self._module.getattr(name)
        return _Attributes(value) if isinstance(value, torch._C.ScriptModule) else value


def is_opaque(function: Any) -> bool:
    """Whether a function may consist of several operations, which a trace does not see."""
    if isinstance(function, FunctionType):
        return is_own(function.__code__.co_filename)
    if isinstance(function, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        return str(function).partition(".")[0] not in _SPACES
    return False


def scripted(last: Any) -> Any:
    """The result of a script, from its last operation."""
    return last


def unread(*args: Any) -> Any:
    """Stands for an operation that only scripts have."""
    raise NotImplementedError("an operation of torch.jit cannot be run in Python")


def _called(node: Any) -> Any:
    space, _, name = node.kind().partition("::")
    try:
        overload = torch._C.parse_schema(node.schema()).overload_name or "default"
        return getattr(getattr(getattr(torch.ops, space), name), overload)
    except (AttributeError, RuntimeError):
        return unread


def _first_node(value: Any) -> fx.Node | None:
    found: list[fx.Node] = []
    fx.node.map_arg(value, found.append)
    return found[0] if found else None
