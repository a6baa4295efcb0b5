"""Records the operations of a model, and where its activations are called."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from proprelu.graph.activations import family_of, module_activation
from proprelu.graph.calls import called_function
from proprelu.graph.events import Event, Run, barrier_at
from proprelu.graph.forwards import entry_of, forward_of
from proprelu.graph.intercept import plain_class
from proprelu.graph.mode import Mode
from proprelu.graph.proxies import ShapedSymbol, Symbol
from proprelu.graph.script import OPAQUE, OPERATION, UNREAD, Reader, is_opaque, scripted
from proprelu.graph.shaped import Shapes
from proprelu.graph.whole import as_one, is_whole, recorded_as_one


class Tracer(fx.Tracer):
    """Traces a model symbolically; for use inside ``mode.untouched``, as it changes the model.

    Every registered module gets a forward that notes where it was called, so that it makes no
    difference whether the model calls a module or its forward, and no hook sees a symbol.

    Args:
        model: the model.
        shapes: computes concrete shapes, if the forward needs them.
    """

    def __init__(self, model: nn.Module, shapes: Shapes | None) -> None:
        super().__init__()
        self.model, self.shapes = model, shapes
        self.paths = {module: path for path, module in model.named_modules()}
        self.run: Run | None = None
        self.events: list[Event] = []
        self.opaque: list[tuple[Run, str]] = []
        self.failed_in: str | None = None
        self._mode_nodes: dict[str, fx.Node] = {}

    def record(self) -> fx.Graph:
        """Trace the model."""
        given = 0 if self.shapes is None else self.shapes.count
        entry = entry_of(forward_of(self.model), given, lambda *a, **k: self.model.forward(*a, **k))
        for module, path in self.paths.items():
            module.__dict__["forward"] = self._noted(module, path, forward_of(module))
        with recorded_as_one(self.model, self._as_one), _Constants(self):
            return self.trace(entry)

    @property
    def root(self) -> nn.Module:
        """The module that targets are attributes of; fx would set an empty one."""
        return self.model

    @root.setter
    def root(self, _: nn.Module) -> None:
        pass

    def path_of_module(self, mod: nn.Module) -> str:
        path: str = self.paths[mod]
        return path

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if m.__dict__["forward"].patched:
            return False
        return isinstance(m, torch.jit.ScriptModule) or is_whole(m)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self.shapes is not None and self.shapes.running:
            return forward(*args, **kwargs)
        return m.forward(*args, **kwargs)

    def _noted(self, module: nn.Module, path: str, forward: Callable[..., Any]) -> Any:
        def enter(*args: Any, **kwargs: Any) -> Any:
            if path and self.is_leaf_module(module, path):
                return self._leaf(module, path, args, kwargs)
            return self._inside(path, forward, args, kwargs)

        noted: Any = functools.partial(enter)
        noted.patched = not isinstance(forward, functools.partial) or forward.args != (module,)
        noted.__globals__ = getattr(getattr(forward, "func", forward), "__globals__", {})
        return noted

    def _inside(self, path: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        outer = self.run
        if outer is None:
            self.run = Run(path)
        else:
            self.run = Run(path, outer, outer.calls[path])
            outer.calls[path] += 1
        try:
            return forward(*args, **kwargs)
        except Exception:
            self.failed_in = self.failed_in or path
            raise
        finally:
            self.run = outer

    def _leaf(self, module: nn.Module, path: str, args: Any, kwargs: Any) -> fx.Proxy:
        proxy = self.create_proxy("call_module", path, args, kwargs)
        if isinstance(module, torch.jit.ScriptModule):
            return self._script(module, path, proxy)
        activation = module_activation(module)
        if activation is not None:
            self._note(activation.kind, proxy.node, path)
        elif self.run is not None and not _is_plain(module):
            self.opaque.append((self.run, path))
        return proxy

    def _script(self, module: torch.jit.ScriptModule, path: str, called: fx.Proxy) -> fx.Proxy:
        """Record what a script does, and its result as that of the last operation."""
        call = called.node
        try:
            last = Reader(module, path, self.graph).read(call.args, call.kwargs)
        except Exception:
            last = None
        if last is None:
            call.meta[OPAQUE] = UNREAD
            return called
        result = self.graph.create_node("call_function", scripted, (last,), {})
        result.meta["scope"] = path
        if self.shapes is not None:
            self.shapes.same(result, call)
        return self.proxy(result)

    def _as_one(self, module: nn.Module, args: Any, kwargs: Any) -> fx.Proxy:
        """Record a call of torch's own forward in the forward of a user's subclass."""
        of = self.create_proxy("get_attr", self.paths[module], (), {})
        return self.create_proxy("call_function", as_one, args, {**kwargs, "of": of})

    def _note(self, family: str, node: fx.Node | None, leaf: str | None = None) -> None:
        if self.run is not None:
            event = Event(self.run, family, node, leaf, barrier_at(Tracer._inside))
            self.events.append(event)
            if node is not None:
                node.meta["event"] = event

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.shapes is not None and self.shapes.running:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["scope"] = "" if self.run is None else self.run.path
        if node.op in ("call_function", "call_method"):
            found = family_of(called_function(node), node.args, node.kwargs)
            if found is not None:
                self._note(found[0], node)
            elif is_opaque(node.target):
                node.meta[OPAQUE] = OPERATION
        return node

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Mode):
            if a.path not in self._mode_nodes:
                target = f"{a.path}.training" if a.path else "training"
                self._mode_nodes[a.path] = self.create_node("get_attr", target, (), {})
            return self._mode_nodes[a.path]
        try:
            return super().create_arg(a)
        except (NameError, NotImplementedError):  # of a module made in the forward; or any object
            name = self.get_fresh_qualname("_constant")
            self.model.__dict__[name] = a.detach() if isinstance(a, Tensor) else a
            return self.create_node("get_attr", name, (), {})

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Symbol(node, self) if self.shapes is None else ShapedSymbol(node, self)

    def create_proxy(self, *args: Any, **kwargs: Any) -> fx.Proxy:
        proxy: fx.Proxy = super().create_proxy(*args, **kwargs)
        if self.shapes is not None:
            self.shapes.run(proxy.node)
        return proxy


class _Constants(TorchFunctionMode):
    """Notes activations of values that do not depend on the input, which leave no node."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        running = self._tracer.shapes is not None and self._tracer.shapes.running
        found = None if running else family_of(func, args, kwargs)
        symbolic = any(isinstance(leaf, fx.Proxy) for leaf in tree_leaves((args, kwargs)))
        if found is not None and not symbolic:
            self._tracer._note(found[0], None)
        return func(*args, **kwargs)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module of torch has nothing inside that could call an activation."""
    children = any(True for _ in module.children())
    return plain_class(module).__module__.startswith("torch.nn.modules") and not children
