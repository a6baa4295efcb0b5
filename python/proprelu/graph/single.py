"""Encodes a single ATen graph, without a loss or a training loop, for the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from proprelu.graph.encode import CaptureError, Encoder

__all__ = ["Result", "SingleGraph", "encode_graph"]


@dataclass(frozen=True)
class Result:
    """A tensor that the core computes.

    Attributes:
        index: its place among the results of the core.
        shape: its shape.
        stride: its strides in torch. AOTAutograd makes views with the strides of the trace, so a
            result in another memory order would be read wrongly.
    """

    index: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, results: Sequence[Tensor]) -> Tensor:
        """The tensor, in the strides of the trace."""
        tensor = results[self.index]
        if tensor.stride() == self.stride:
            return tensor
        # What an expanded tensor repeats is in memory once.
        for dim, (size, stride) in enumerate(zip(self.shape, self.stride, strict=True)):
            if stride == 0 and size > 1:
                tensor = tensor.narrow(dim, 0, 1)
        ordered = torch.empty_strided(
            tensor.shape, self.stride, dtype=tensor.dtype, device=tensor.device
        )
        return ordered.copy_(tensor).expand(self.shape)


@dataclass(frozen=True)
class SingleGraph:
    """A graph of ATen operations with its constants.

    Attributes:
        graph: the graph as plain data, in the format that the core reads.
        constants: tensors that the trace has lifted out; they are the last inputs, in this order.
        outputs: for each output the core's ``Result``, or the number of the input that it is, or
            ``None`` if the output is ``None``.
        writes: pairs of an input's number and the ``Result`` that is written into it.
    """

    graph: dict[str, Any]
    constants: tuple[Tensor, ...]
    outputs: tuple[Result | int | None, ...]
    writes: tuple[tuple[int, Result], ...]

    def collect(self, inputs: Sequence[Tensor], results: Sequence[Tensor]) -> list[Tensor | None]:
        """The outputs, after the inputs that the graph changes have their new values.

        An output that is an input is returned as the same object, and so is a tensor that is
        returned twice, because autograd tells from the objects what depends on what.
        """
        for number, result in self.writes:
            inputs[number].copy_(result.of(results))
        made: dict[int, Tensor] = {}
        outputs: list[Tensor | None] = []
        for output in self.outputs:
            if isinstance(output, Result):
                if output.index not in made:
                    made[output.index] = output.of(results)
                outputs.append(made[output.index])
            else:
                outputs.append(None if output is None else inputs[output])
        return outputs


def encode_graph(module: GraphModule) -> SingleGraph:
    """Encode a functional graph of ATen operations, such as AOTAutograd passes to a compiler.

    Args:
        module: the graph. It may write into its inputs at its end.

    Returns:
        The graph as plain data, with its constants.

    Raises:
        CaptureError: a value is not a tensor, or an operation is not one of ATen.
    """
    encoder = Encoder(module, "graph")
    numbers: dict[Node, int] = {}
    for index, node in enumerate(module.graph.find_nodes(op="placeholder")):
        encoder.add_input(node, str(index), "batch")
        numbers[node] = index
    # The core expects all inputs first.
    for node in module.graph.find_nodes(op="get_attr"):
        encoder.add_node(node)
        numbers[node] = len(numbers)
    written: dict[Node, Node] = {}
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.copy_.default:
            written[node.args[0]] = _write(node, numbers)
            numbers[node] = numbers[node.args[0]]
        elif node.op not in ("placeholder", "get_attr", "output"):
            encoder.add_node(node)
    results: dict[Node, Result] = {}

    def result(node: Node) -> Result:
        if node not in results:
            encoder.value(node)  # raises an error for anything but a tensor
            value = node.meta["val"]
            results[node] = Result(len(results), tuple(value.shape), tuple(value.stride()))
        return results[node]

    (output,) = module.graph.find_nodes(op="output")
    outputs: list[Result | int | None] = []
    for returned in output.args[0]:
        if returned is not None and not isinstance(returned, Node):
            raise CaptureError(f"the graph returns {returned!r}, which is not a tensor")
        if returned is None:
            outputs.append(None)
        else:
            outputs.append(numbers[returned] if returned in numbers else result(returned))
    writes = tuple((numbers[target], result(source)) for target, source in written.items())
    nothing = {"predictions": None, "loss": None, "gradients": (), "buffers": ()}
    values = [encoder.value(node) for node in results]
    graph = encoder.finish({**nothing, "results": values})
    return SingleGraph(graph, tuple(encoder.constants.values()), tuple(outputs), writes)


def _write(node: Node, numbers: dict[Node, int]) -> Node:
    """The node whose value a ``copy_`` writes into an input."""
    target, source = node.args[:2]
    into_input = isinstance(target, Node) and target.op == "placeholder"
    read_later = any(user.op != "output" for user in node.users)
    if not into_input or read_later or not isinstance(source, Node) or source in numbers:
        raise CaptureError(f"{node.name} writes into a tensor before the end of the graph")
    later: Node = node.next
    while later.op != "output":
        if target in later.all_input_nodes and later.target is not torch.ops.aten.copy_.default:
            raise CaptureError(f"{later.name} reads an input after {node.name} has written into it")
        later = later.next
    return source
