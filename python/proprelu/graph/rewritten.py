"""A model whose forward is a graph and whose modules are all still there."""

import copy
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, fx, nn

# what fx keeps beside the modules; all of it follows from the graph
_FX = set(fx.GraphModule(nn.Module(), fx.Graph()).__dict__) - set(nn.Module().__dict__)

# of what is noted on a node: the module it stands in, and the path of what stood there before
_META = ("scope", "label")


class Rewritten(fx.GraphModule):
    """``model`` with ``graph`` for a forward.

    A plain GraphModule holds only what its graph calls; this one holds the whole module tree as it
    was, so that the ``state_dict`` has the same keys in the same order, and modules that the
    forward does not reach stay. It can be pickled and deep-copied.

    Args:
        model: its modules, parameters, buffers and hooks are taken over, not copied.
        graph: operations whose targets are attributes of ``model``.
        constants: further tensors that the graph names; they follow ``.to()`` but are no part of
            the ``state_dict``.
    """

    def __init__(
        self, model: nn.Module, graph: fx.Graph, constants: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(nn.Module(), fx.Graph(), type(model).__name__)
        for name, value in _state(model).items():
            own = isinstance(value, (dict, set)) and name.startswith("_")
            self.__dict__[name] = copy.copy(value) if own else value
        for name, value in (constants or {}).items():
            self.register_buffer(name, value, persistent=False)
        self.graph = graph

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self).__name__, _rows(self.graph)), _state(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Rewritten":
        new = _rebuild(type(self).__name__, _rows(self.graph))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(_state(self), memo))
        return new

    def __copy__(self) -> "Rewritten":
        new = _rebuild(type(self).__name__, _rows(self.graph))
        new.__dict__.update(_state(self))
        return new


def _state(model: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in model.__dict__.items() if name not in _FX}


class _Ref(NamedTuple):
    """An earlier row."""

    row: int


class _Function(NamedTuple):
    """A function by its name, as pickle can't always find it (``F.max_pool2d``)."""

    module: str
    name: str


class _Row(NamedTuple):
    """One node of a graph."""

    op: str
    name: str
    target: Any
    args: Any
    kwargs: Any
    meta: dict[str, str]


def _rows(graph: fx.Graph) -> list[_Row]:
    index = {node: _Ref(i) for i, node in enumerate(graph.nodes)}

    def refs(arg: Any) -> Any:
        return fx.node.map_arg(arg, index.__getitem__)

    return [
        _Row(
            node.op,
            node.name,
            _by_name(node.target) if callable(node.target) else node.target,
            refs(node.args),
            refs(node.kwargs),
            {key: node.meta[key] for key in _META if key in node.meta},
        )
        for node in graph.nodes
    ]


def _by_name(function: Callable[..., Any]) -> object:
    module, name = getattr(function, "__module__", ""), getattr(function, "__name__", "")
    found = getattr(sys.modules.get(module or ""), name, None)
    return _Function(module, name) if found is function else function


def _rebuild(name: str, rows: list[_Row]) -> Rewritten:
    graph = fx.Graph()
    nodes: list[fx.Node] = []

    def values(arg: Any) -> Any:
        if isinstance(arg, _Ref):
            return nodes[arg.row]
        if isinstance(arg, (list, tuple)) and not hasattr(arg, "_fields"):
            return type(arg)(values(item) for item in arg)
        if isinstance(arg, dict):
            return {key: values(item) for key, item in arg.items()}
        if isinstance(arg, slice):
            return slice(values(arg.start), values(arg.stop), values(arg.step))
        return arg

    for row in rows:
        target = row.target
        if isinstance(target, _Function):
            __import__(target.module)
            target = getattr(sys.modules[target.module], target.name)
        node = graph.create_node(
            row.op, target, values(row.args), values(row.kwargs), name=row.name
        )
        node.meta.update(row.meta)
        nodes.append(node)
    named = type(name, (nn.Module,), {})
    return Rewritten(named(), graph)
