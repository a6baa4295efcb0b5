"""A model with a graph for its forward and all of its original modules."""

import copy
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, fx, nn

# The attributes of a GraphModule other than its modules; all of them follow from the graph.
_FX = set(fx.GraphModule(nn.Module(), fx.Graph()).__dict__) - set(nn.Module().__dict__)

# The entries of a node's `meta` that a copy keeps: the path of the module in which the operation
# runs, and the path of the activation that the node replaces.
_META = ("scope", "label")

# Attributes that a copy builds again.
_GRAPHS = ("training_graph", "_training_path")


class Rewritten(fx.GraphModule):
    """``model`` with ``graph`` as its forward.

    A plain GraphModule holds only the modules that its graph calls. This one holds the whole module
    tree of the original, including modules that the forward does not use, so that the
    ``state_dict`` has the same keys in the same order. It can be pickled and deep-copied.

    Args:
        model: the original; its modules, parameters, buffers and hooks are shared, not copied.
        graph: operations with targets that are attributes of ``model``.
        constants: further tensors that the graph reads; they follow ``.to()`` but are not part of
            the ``state_dict``.
        modules: further modules that the graph calls, by name; None removes a module.
        training: the operations in training mode, where they differ.
    """

    training_graph: fx.Graph | None

    def __init__(
        self,
        model: nn.Module,
        graph: fx.Graph,
        constants: Mapping[str, Tensor] | None = None,
        modules: Mapping[str, nn.Module | None] | None = None,
        training: fx.Graph | None = None,
    ) -> None:
        super().__init__(nn.Module(), fx.Graph(), type(model).__name__)
        for name, value in _state(model).items():
            own = isinstance(value, (dict, set)) and name.startswith("_")
            self.__dict__[name] = copy.copy(value) if own else value
        for name, value in (constants or {}).items():
            self.register_buffer(name, value, persistent=False)
        for name, module in (modules or {}).items():
            self._modules.pop(name, None)
            if module is not None:
                self.add_module(name, module)
        self.__dict__["training_graph"] = training
        self.graph = graph

    def recompile(self) -> fx.graph.PythonCode:
        """Generate the forward from the graphs again, after they were changed."""
        code = super().recompile()
        training = self.__dict__.get("training_graph")
        if training is not None:
            empty = type(type(self).__name__, (nn.Module,), {})
            # Not a submodule: its modules are already those of `self`.
            self.__dict__["_training_path"] = Rewritten(empty(), training)
            own = type(self)
            own.forward = _by_mode(own.forward)
        return code

    def in_training(self) -> "Rewritten":
        """A module that shares all modules with this one and runs the graph of training mode."""
        path: Rewritten = self.__dict__["_training_path"]
        for held in ("_parameters", "_buffers", "_modules"):
            if path.__dict__[held] is not self.__dict__[held]:
                path.__dict__[held] = self.__dict__[held]
        return path

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._recipe(), _state(self)

    def _recipe(self) -> tuple[Any, ...]:
        training = self.training_graph
        rows = None if training is None else _rows(training)
        return type(self).__name__, _rows(self.graph), rows

    def __deepcopy__(self, memo: dict[int, Any]) -> "Rewritten":
        new = _rebuild(*self._recipe())
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(_state(self), memo))
        return new

    def __copy__(self) -> "Rewritten":
        new = _rebuild(*self._recipe())
        new.__dict__.update(_state(self))
        return new


def _by_mode(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(evaluate)
    def forward(self: Rewritten, *args: Any, **kwargs: Any) -> Any:
        if self.training:
            return self.in_training().forward(*args, **kwargs)
        return evaluate(self, *args, **kwargs)

    return forward


def _state(model: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in model.__dict__.items() if k not in _FX and k not in _GRAPHS}


class _Ref(NamedTuple):
    """A reference to the result of an earlier row."""

    row: int


class _Function(NamedTuple):
    """A function by its name: pickle cannot always find it by itself (``F.max_pool2d``)."""

    module: str
    name: str


class _Row(NamedTuple):
    """One node of a graph, in a form that can be pickled."""

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


def _rebuild(name: str, rows: list[_Row], training: list[_Row] | None = None) -> Rewritten:
    named = type(name, (nn.Module,), {})
    other = None if training is None else _graph(training)
    return Rewritten(named(), _graph(rows), training=other)


def _graph(rows: list[_Row]) -> fx.Graph:
    graph = fx.Graph()
    nodes: list[fx.Node] = []

    def values(arg: Any) -> Any:
        if isinstance(arg, _Ref):
            return nodes[arg.row]
        if isinstance(arg, tuple) and hasattr(arg, "_fields"):
            return type(arg)(*(values(item) for item in arg))
        if isinstance(arg, (list, tuple)):
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
    return graph
