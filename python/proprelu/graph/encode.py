"""Encodes an ATen graph as plain data: values are numbered, arguments tagged with their type."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from proprelu.graph.memory_order import reads_memory_order

__all__ = ["CaptureError", "Encoder", "encode_argument"]


class CaptureError(RuntimeError):
    """A model cannot be captured as one graph; the message says why."""


class Encoder:
    """Collects the values, inputs and calls of one graph.

    Args:
        module: the graph with the tensors that it reads.
        prefix: comes before the names of the constants, so that they are unique among all graphs
            of a runner.
    """

    def __init__(self, module: GraphModule, prefix: str) -> None:
        self.constants: dict[str, Tensor] = {}
        self._prefix = prefix
        self._module = module
        self._values: list[dict[str, Any]] = []
        self._inputs: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._ids: dict[Node, Any] = {}
        self._results: dict[Node, list[int | None]] = {}

    def value(self, node: object) -> int:
        """The number of the value that a node computes."""
        if not isinstance(node, Node):
            raise CaptureError(f"{node!r} is not a tensor or a real number")
        if node not in self._ids:
            raise CaptureError(f"{node.name} is not a tensor")
        return int(self._ids[node])

    def add_input(self, node: Node, name: str, role: str) -> None:
        """Add an input that is bound when the graph runs."""
        value = self._new_value(node.meta["val"])
        self._ids[node] = value
        self._inputs.append({"name": name, "role": role, "value": value})

    def add_constant_input(self, node: Node, name: str, tensor: Tensor) -> None:
        """Add an input that is always bound to ``tensor``."""
        name = f"{self._prefix}.{name}"
        self.constants[name] = tensor.detach()
        self.add_input(node, name, "constant")

    def add_node(self, node: Node) -> None:
        """Add an attribute, an operation, or one item of an operation's results."""
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            return  # true of every tensor that a graph of fixed shapes computes
        if node.op == "get_attr":
            self._add_constant(node)
        elif node.target is operator.getitem:
            self._add_item(node, *node.args)
        elif isinstance(node.target, torch._ops.OpOverload):
            self._add_call(node, node.target)
        elif isinstance(node.args[0] if node.args else None, torch._ops.OpOverload):
            raise CaptureError(f"{node.args[0]} changes its arguments in place")
        else:
            raise CaptureError(f"{node.target} is not an operation of ATen")

    def finish(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """The whole graph as plain data."""
        return {
            "values": self._values,
            "inputs": self._inputs,
            "calls": self._calls,
            "outputs": outputs,
        }

    def _add_constant(self, node: Node) -> None:
        tensor = operator.attrgetter(str(node.target))(self._module)
        if not isinstance(tensor, Tensor):
            raise CaptureError(f"{node.target} is a {type(tensor).__name__}, not a tensor")
        node.meta.setdefault("val", tensor)
        self.add_constant_input(node, str(node.target), tensor)

    def _add_item(self, node: Node, source: Any, index: Any) -> None:
        """Number one of several results; two nodes may read the same one."""
        results = self._results[source]
        tensor = source.meta["val"][index]
        if tensor is None:
            # A gradient that was not requested: the entry stays empty.
            return
        if results[index] is None:
            results[index] = self._new_value(tensor)
        self._ids[node] = results[index]

    def _add_call(self, node: Node, target: torch._ops.OpOverload) -> None:
        schema = target._schema
        kinds = [returned.type.kind() for returned in schema.returns]
        is_list = kinds == ["ListType"]
        if not is_list and any(kind != "TensorType" for kind in kinds):
            raise CaptureError(f"{target} returns something other than tensors")
        results: list[int | None]
        if len(kinds) == 1 and not is_list:
            self._ids[node] = self._new_value(node.meta["val"])
            results = [self._ids[node]]
        else:
            # The numbers are filled in by the nodes that take items out of the tuple.
            results = [None] * (len(node.meta["val"]) if is_list else len(kinds))
            self._results[node] = results
        call = {
            "name": schema.name,
            "overload": schema.overload_name,
            "args": self._arguments(node, schema),
            "returns_list": is_list,
            "draws": torch.Tag.nondeterministic_seeded in target.tags,
            "outputs": results,
        }
        self._calls.append(call)

    def _arguments(self, node: Node, schema: Any) -> list[Any]:
        number = self._strided if reads_memory_order(node.target) else self._tensor
        arguments = []
        for index, argument in enumerate(schema.arguments):
            if index < len(node.args):
                value = node.args[index]
            else:
                value = node.kwargs.get(argument.name, argument.default_value)
            arguments.append(encode_argument(argument.real_type, value, number))
        return arguments

    def _tensor(self, node: object) -> dict[str, Any]:
        return {"tensor": self.value(node)}

    def _strided(self, node: Any) -> dict[str, Any]:
        """A tensor that the core must pass in the strides of the trace."""
        value = self.value(node)
        return {"strided": {"value": value, "stride": [int(s) for s in node.meta["val"].stride()]}}

    def _new_value(self, tensor: Any) -> int:
        if not isinstance(tensor, (Tensor, torch.SymInt)):
            raise CaptureError(f"a value of the graph is a {type(tensor).__name__}, not a tensor")
        if isinstance(tensor, torch.SymInt) or _has_open_sizes(tensor):
            raise CaptureError(
                "its sizes are left open, as torch.compile does once it has seen several; "
                "call torch.compile with dynamic=False"
            )
        self._values.append(
            {
                "shape": [int(size) for size in tensor.shape],
                "dtype": _short(tensor.dtype),
                "channels_last": _is_channels_last(tensor),
            }
        )
        return len(self._values) - 1


def _has_open_sizes(tensor: Tensor) -> bool:
    return any(isinstance(size, torch.SymInt) for size in tensor.shape)


def encode_argument(kind: Any, value: Any, tensor: Any) -> Any:
    """Encode one argument for the core: ``{"int": 3}``, ``{"some": {"tensor": 7}}``, ``"none"``.

    Args:
        kind: the type of the argument in the operation's schema.
        value: the argument.
        tensor: encodes a tensor from the node that computes it.
    """
    name = kind.kind()
    if name == "OptionalType":
        if value is None:
            return "none"
        return {"some": encode_argument(kind.getElementType(), value, tensor)}
    if name == "ListType":
        items = value if isinstance(value, (list, tuple)) else [value]
        return {"list": [encode_argument(kind.getElementType(), item, tensor) for item in items]}
    if name not in _ENCODERS:
        raise CaptureError(f"an argument of type {kind} has no encoding")
    if name == "TensorType" and isinstance(value, (bool, int, float)):
        # torch takes a plain number where it expects a tensor.
        return {"scalar": _number(value)}
    if name == "TensorType":
        return tensor(value)
    tag, convert = _ENCODERS[name]
    return {tag: convert(value)}


def _short(value: torch.dtype | torch.layout | torch.memory_format) -> str:
    return str(value).removeprefix("torch.")


def _dtype(value: torch.dtype | int) -> str:
    # Schemas give one default dtype as a number: 4, which means int64.
    return _short(torch.int64 if value == 4 else value)  # type: ignore[arg-type]


def _number(value: Any) -> bool | int | float:
    if isinstance(value, (bool, int, float)):
        return value
    raise CaptureError(f"{value!r} must be a number known when the model is captured")


def _float(value: Any) -> Any:
    return float(value) if isinstance(value, int) else value


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether dimension 1 is the innermost in memory and the strides leave no gaps."""
    if tensor.dim() < 3:
        return False
    expected = 1
    for dim in (1, *range(tensor.dim() - 1, 1, -1), 0):
        if tensor.shape[dim] != 1 and tensor.stride(dim) != expected:
            return False
        expected *= tensor.shape[dim]
    return True


_ENCODERS: dict[str, tuple[str, Any]] = {
    "TensorType": ("tensor", None),
    "IntType": ("int", lambda value: int(_number(value))),
    "SymIntType": ("int", lambda value: int(_number(value))),
    "FloatType": ("float", lambda value: _number(_float(value))),
    "BoolType": ("bool", bool),
    "NumberType": ("scalar", _number),
    "StringType": ("str", str),
    "ScalarTypeType": ("dtype", _dtype),
    "LayoutType": ("layout", _short),
    "DeviceObjType": ("device", str),
    "MemoryFormatType": ("memory_format", _short),
}
