"""Gives convolutions that follow each other one correction of their borders."""

from __future__ import annotations

from collections import Counter

from torch import fx, nn

from proprelu.nn import BorderedConv2d, BorderedSequential


def gather_borders(net: fx.GraphModule) -> None:
    """Make each row of convolutions with bordered ones a ``BorderedSequential``.

    Args:
        net: a merged model, with the shapes that its values have for the example.
    """
    for row in _rows(net):
        bordered = [isinstance(_convolution(net, node), BorderedConv2d) for node in row]
        if any(bordered):
            # What is before the first border and after the last one needs no correction.
            _gather(net, row[bordered.index(True) : len(row) - bordered[::-1].index(True)])


def _rows(net: fx.GraphModule) -> list[list[fx.Node]]:
    """The convolutions of a graph, in rows of those that follow each other."""
    rows: dict[fx.Node, list[fx.Node]] = {}  # by their last nodes
    uses = Counter(node.target for node in net.graph.nodes)
    for node in net.graph.nodes:
        if _convolution(net, node) is None or uses[node.target] > 1:
            continue
        (source,) = node.all_input_nodes
        before = rows.pop(source) if source in rows and len(source.users) == 1 else []
        rows[node] = [*before, node]
    return list(rows.values())


def _convolution(net: fx.GraphModule, node: fx.Node) -> nn.Conv2d | None:
    """The convolution that a node applies to a batch of images, if nothing else is done."""
    if node.op != "call_module" or len(node.args) != 1 or len(node.meta.get("shape", ())) != 4:
        return None
    module = net.get_submodule(str(node.target))
    if type(module) not in (nn.Conv2d, BorderedConv2d):
        return None
    assert isinstance(module, nn.Conv2d)
    is_plain = module.padding_mode == "zeros"
    return module if is_plain and not (module._forward_hooks or module._forward_pre_hooks) else None


def _gather(net: fx.GraphModule, row: list[fx.Node]) -> None:
    """Replace convolutions by one module, at the path of the first."""
    first, last = row[0], row[-1]
    layers = [conv for node in row if (conv := _convolution(net, node)) is not None]
    height, width = first.all_input_nodes[0].meta["shape"][2:]
    parent, _, name = str(first.target).rpartition(".")
    module = BorderedSequential(*layers, size=(height, width)).eval()
    setattr(net.get_submodule(parent), name, module)
    last.replace_all_uses_with(first)
    first.meta = last.meta
    for node in reversed(row[1:]):
        net.graph.erase_node(node)
