"""Traces a model to a torch.fx graph that follows the model's training mode."""

import inspect
import os
import sysconfig
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from proprelu.graph.mode import Mode, untouched, watched_modes
from proprelu.graph.norm_act import is_norm_act, only_norm
from proprelu.graph.rewritten import Rewritten
from proprelu.graph.shaped import ShapedProxy, Shapes

_TORCH = os.path.join(os.path.dirname(torch.__file__), "")
_HERE = os.path.join(os.path.dirname(__file__), "")
_PYTHON = sysconfig.get_path("stdlib")


@dataclass
class Traced:
    """A model with its graph.

    Attributes:
        model: the module that the graph's targets are attributes of.
        graph: the operations in execution order; ``node.meta["scope"]`` is the path of the module
            in which an operation runs. If the forward branches on the mode, these are the
            operations of evaluation mode.
        training: the operations of training mode, where they differ.
        constants: tensors that the forward creates without any input, by their name in the graph.
        way: how it was traced: ``"symbolic"``, or with the ``"shapes"`` of an example.
    """

    model: nn.Module
    graph: fx.Graph
    training: fx.Graph | None = None
    constants: dict[str, Tensor] = field(default_factory=dict)
    way: str = "symbolic"


def trace(model: nn.Module, example_input: object = None) -> Traced:
    """Trace ``model`` symbolically.

    Args:
        model: any module that torch.fx can trace. It is not changed.
        example_input: a tensor, or a tuple of the forward's arguments. It is used only if the
            forward needs concrete shapes to be traced; its shapes then become part of the graph.

    Returns:
        The graph. For a model that was converted before, a copy of its graph.

    Raises:
        ValueError: the model cannot be traced, or it does not accept the example. The message says
            where, and what to do about it.
    """
    if isinstance(model, Rewritten):
        return Traced(model, deepcopy(model.graph), deepcopy(model.training_graph))
    try:
        return _trace(model, None)
    except ValueError:
        if example_input is None:
            raise
    return _trace(model, example_input)


def _trace(model: nn.Module, example_input: object) -> Traced:
    traced, branched = _trace_once(model, example_input)
    if not branched:
        return traced
    evaluation, _ = _trace_once(model, example_input, training=False)
    training, _ = _trace_once(model, example_input, training=True)
    if _source(evaluation) == _source(training):
        return traced
    for node in training.graph.nodes:  # both graphs use the same names for their constants
        if node.op == "get_attr" and node.target in training.constants:
            node.target = f"{node.target}_in_training"
    evaluation.constants |= {f"{k}_in_training": v for k, v in training.constants.items()}
    evaluation.training = training.graph
    return evaluation


def _source(traced: Traced) -> str:
    return traced.graph.python_code("self").src


def _trace_once(
    model: nn.Module, example_input: object, training: bool | None = None
) -> tuple[Traced, bool]:
    """Trace the forward once; returns also whether it branched on the training mode."""
    shapes = None if example_input is None else Shapes(model, example_input)
    tracer = _Tracer(shapes)
    with untouched(model) as before:
        modes = watched_modes(model, training)
        try:
            graph = tracer.trace(model, _options(model))
        except Exception as error:
            refusal = shapes and shapes.refusal()
            if refusal:
                raise ValueError(_explain_example(model, example_input, refusal)) from error
            raise ValueError(_explain(model, tracer, error, shapes is not None)) from error
        new = {k: v for k, v in model.__dict__.items() if k not in before}  # set there by fx
    constants = {name: value for name, value in new.items() if isinstance(value, Tensor)}
    way = "symbolic" if shapes is None else "shapes"
    return Traced(model, graph, None, constants, way), any(mode.branched for mode in modes)


def _options(model: nn.Module) -> dict[str, Any]:
    """The defaults of the forward's optional flags, which are fixed in the trace."""
    parameters = inspect.signature(type(model).forward).parameters.values()
    chosen = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {k: v for k, v in chosen.items() if v is None or isinstance(v, (bool, str))}


class _Tracer(fx.Tracer):
    def __init__(self, shapes: Shapes | None) -> None:
        super().__init__()
        self.shapes = shapes
        self.path: list[str] = [""]
        self.failed_in: str | None = None
        self._mode_nodes: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # Subclasses of batch norm stay one node too, because their forwards branch on the mode.
        own = hasattr(m, "dropped_activation") or hasattr(m, "traced_whole")
        whole = own or isinstance(m, _BatchNorm)
        return whole or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self.shapes is not None and self.shapes.running:
            return forward(*args, **kwargs)
        name = self.path_of_module(m)
        if is_norm_act(m):
            return self._norm_act(m, name, args[0])
        if self.is_leaf_module(m, name):
            return super().call_module(m, forward, args, kwargs)
        self.path.append(name)
        try:
            # Only the forward is called: a hook would receive proxies instead of tensors.
            return super().call_module(m, m.forward, args, kwargs)
        except Exception:
            self.failed_in = self.failed_in or name
            raise
        finally:
            self.path.pop()

    def _norm_act(self, m: nn.BatchNorm2d, name: str, input: fx.Proxy) -> Any:
        """Split a norm from its activation, so that the activation can be a site."""
        self.path.append(name)
        module = self.create_proxy("get_attr", name, (), {})
        out = self.create_proxy("call_function", only_norm, (input, module), {})
        self.path.pop()
        drop, act = getattr(m, "drop", None), m.get_submodule("act")
        return act(drop(out) if isinstance(drop, nn.Module) else out)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.shapes is not None and self.shapes.running:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["scope"] = self.path[-1]
        return node

    def create_arg(self, a: Any) -> Any:
        if not isinstance(a, Mode):
            return super().create_arg(a)
        if a.path not in self._mode_nodes:
            target = f"{a.path}.training" if a.path else "training"
            self._mode_nodes[a.path] = self.create_node("get_attr", target, (), {})
        return self._mode_nodes[a.path]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return ShapedProxy(node, self) if self.shapes is not None else super().proxy(node)

    def create_proxy(self, *args: Any, **kwargs: Any) -> fx.Proxy:
        proxy: fx.Proxy = super().create_proxy(*args, **kwargs)
        if self.shapes is not None:
            self.shapes.run(proxy.node)
        return proxy


def _explain(model: nn.Module, tracer: _Tracer, error: Exception, shaped: bool) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.line and _is_own(f.filename)]
    where = own and f" at {os.path.basename(own[-1].filename)}:{own[-1].lineno} {own[-1].line!r}"
    reason = " ".join(str(error).split()) or type(error).__name__
    hint = "" if shaped else "give example_input if it only needs shapes, "
    return (
        f"cannot trace {type(model).__name__}: {tracer.failed_in or 'its forward'} fails"
        f"{where or ''} ({reason.rstrip('.')}); {hint}move that code into a function "
        "marked with torch.fx.wrap, or convert the part of the model that can be traced"
    )


def _explain_example(model: nn.Module, example_input: object, refusal: str) -> str:
    values = example_input if isinstance(example_input, tuple) else (example_input,)
    got = [
        f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        for value in values
    ]
    return (
        f"example_input must be what {type(model).__name__} is called with, got {', '.join(got)} "
        f"({refusal}); give a batch such as torch.randn(2, 3, 224, 224) in the model's own sizes"
    )


def _is_own(filename: str) -> bool:
    """Whether a file is part of the user's model, or of a library of models like torchvision."""
    library = filename.startswith((_TORCH, _HERE))
    return not library and (not filename.startswith(_PYTHON) or "site-packages" in filename)
