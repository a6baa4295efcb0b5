"""A traced graph by itself, without a loss or a loop around it, as the core reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from torch import Tensor
from torch.fx import GraphModule, Node

from proprelu.graph.encode import CaptureError, Encoder

__all__ = ["SingleGraph", "encode_graph"]


@dataclass(frozen=True)
class SingleGraph:
    """A graph of ATen operations with the tensors that belong to it.

    Attributes:
        graph: as JSON.
        constants: what the trace lifted out; the last inputs, in this order.
        places: for each output the number of the result that it is, or `None` where it is none.
    """

    graph: str
    constants: tuple[Tensor, ...]
    places: tuple[int | None, ...]


def encode_graph(module: GraphModule) -> SingleGraph:
    """A functional graph of ATen operations, such as AOTAutograd hands to a compiler.

    Raises:
        CaptureError: something in it is no tensor, or no operation of ATen.
    """
    encoder = Encoder(module, "graph")
    for index, node in enumerate(module.graph.find_nodes(op="placeholder")):
        encoder.add_input(node, str(index), "batch")
    # The core takes all inputs first.
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
            raise CaptureError(f"the graph gives {returned!r}, which is no tensor")
        places.append(None if returned is None else len(results))
        if returned is not None:
            results.append(encoder.value(returned))
    nothing = {"predictions": None, "loss": None, "gradients": (), "buffers": ()}
    graph = encoder.finish({**nothing, "results": results})
    return SingleGraph(json.dumps(graph), tuple(encoder.constants.values()), tuple(places))
