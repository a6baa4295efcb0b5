"""Encodes a single ATen graph, without a loss or a training loop, for the core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.fx import GraphModule, Node

from proprelu.graph.encode import CaptureError, Encoder

__all__ = ["SingleGraph", "encode_graph"]


@dataclass(frozen=True)
class SingleGraph:
    """A graph of ATen operations with its constants.

    Attributes:
        graph: the graph as plain data, in the format that the core reads.
        constants: tensors that the trace has lifted out; they are the last inputs, in this order.
        places: for each output the index of its result, or ``None`` if the output is ``None``.
    """

    graph: dict[str, Any]
    constants: tuple[Tensor, ...]
    places: tuple[int | None, ...]


def encode_graph(module: GraphModule) -> SingleGraph:
    """Encode a functional graph of ATen operations, such as AOTAutograd passes to a compiler.

    Args:
        module: the graph.

    Returns:
        The graph as plain data, with its constants.

    Raises:
        CaptureError: a value is not a tensor, or an operation is not one of ATen.
    """
    encoder = Encoder(module, "graph")
    for index, node in enumerate(module.graph.find_nodes(op="placeholder")):
        encoder.add_input(node, str(index), "batch")
    # The core expects all inputs first.
    for node in module.graph.find_nodes(op="get_attr"):
        encoder.add_node(node)
    for node in module.graph.nodes:
        if node.op not in ("placeholder", "get_attr", "output"):
            encoder.add_node(node)
    (output,) = module.graph.find_nodes(op="output")
    results: list[int] = []
    places: list[int | None] = []
    for returned in output.args[0]:
        if returned is not None and not isinstance(returned, Node):
            raise CaptureError(f"the graph returns {returned!r}, which is not a tensor")
        places.append(None if returned is None else len(results))
        if returned is not None:
            results.append(encoder.value(returned))
    nothing = {"predictions": None, "loss": None, "gradients": (), "buffers": ()}
    graph = encoder.finish({**nothing, "results": results})
    return SingleGraph(graph, tuple(encoder.constants.values()), tuple(places))
