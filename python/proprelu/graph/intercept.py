"""Modules whose activations are intercepted where they are called.

A module stays the user's object; only its class is replaced, by a subclass that is made here. Two
kinds of subclasses do all of the work:

- a *leaf* is an activation module, all calls of which do the same: return the input, for example;
- a *scope* is a module in whose forward activations are called as functions or methods, or modules
  whose calls differ. While its forward runs, a mode sees all calls of torch's functions. It counts
  those of activations that are made in the scope itself, and does with the k-th what a table says.

Calls are counted within one call of the scope, so nothing has to be put back after an error, and
threads, replicas and recomputations count for themselves.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from proprelu.graph.activations import module_activation, module_settings
from proprelu.graph.decisions import Decision, Keep, Use
from proprelu.graph.scopes import Frame, Intercepting, Table, frame_of, running

# Where a module keeps its decisions: the decision of a leaf, the table of a scope.
HELD = "_proprelu"
_BASE = "_proprelu_base"
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def _call_scope(run: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
    table = module.__dict__.get(HELD)
    if not isinstance(table, Table):  # made by the model itself from our class: f[:2]
        return run(*args, **kwargs)
    if table.slope is not None and module.training:
        table.slope.step()
    if not table.counts:
        return run(*args, **kwargs)
    mode = running()
    frame = frame_of(table, module.training, mode)
    if mode is None:
        with Intercepting(frame):
            result = run(*args, **kwargs)
    else:
        mode.frames.append(frame)
        try:
            result = run(*args, **kwargs)
        finally:
            mode.frames.pop()
    frame.check()
    return result


def _call_leaf(run: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
    decision = module.__dict__.get(HELD)
    activation = module_activation(module)
    if not isinstance(decision, Decision) or isinstance(decision, Keep) or activation is None:
        return run(*args, **kwargs)
    value = args[0] if args else next(iter(kwargs.values()))
    use = Use(value, activation, module_settings(module), lambda: run(*args, **kwargs))
    mode = running()
    if mode is None:
        return decision(use)
    mode.frames.append(Frame("", 0, {}))  # what the decision calls does not count
    try:
        return decision(use)
    finally:
        mode.frames.pop()


class _Quiet:
    """Keeps a subclass from being announced to its base class, which may keep a registry."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass


@functools.cache
def _subclass(base: Any, leaf: bool) -> Any:
    call = _call_leaf if leaf else _call_scope

    def run(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return call(functools.partial(base.forward, self), self, args, kwargs)

    # torch.compile keeps what it has learned about a function, such as sizes that change, by its
    # name and line: each class needs a forward of its own.
    name = f"{base.__qualname__}.forward"
    run.__code__ = run.__code__.replace(co_name=name)
    forward: Any = functools.wraps(base.forward)(_with_keywords(base.forward, run))
    forward.__code__ = forward.__code__.replace(co_name=name)

    def reduce(self: nn.Module, protocol: Any) -> Any:
        """Pickle and copy by way of the user's class: this one is no attribute of a module."""
        reduced: Any = base.__reduce_ex__(self, protocol)
        make, args, *rest = reduced
        args = tuple(base if arg is type(self) else arg for arg in args)
        return (_remade, (leaf, make, args), *rest)

    def deepcopy(self: nn.Module, memo: dict[int, Any]) -> nn.Module:
        new: nn.Module = base.__deepcopy__(self, memo)
        if HELD in self.__dict__ and _BASE not in type(new).__dict__:
            _remade(leaf, lambda: new, ())
            new.__dict__[HELD] = copy.deepcopy(self.__dict__[HELD], memo)
        return new

    def recompile(self: fx.GraphModule) -> Any:
        """Let fx write the new forward into its own class."""
        self.__class__ = base
        try:
            return base.recompile(self)
        finally:
            self.__class__ = made

    body: dict[str, Any] = {
        "__doc__": base.__doc__,
        "__qualname__": base.__qualname__,
        # Other tracers of torch.fx take a class of torch.nn as one operation.
        "__module__": __name__ if leaf else base.__module__,
        "__reduce_ex__": reduce,
        "forward": forward,
        _BASE: base,
    }
    if hasattr(base, "__deepcopy__"):
        body["__deepcopy__"] = deepcopy
    if leaf:
        body["_get_name"] = _leaf_name
    bases: tuple[Any, ...] = (_Quiet, base)
    if issubclass(base, fx.GraphModule):
        bases, body["recompile"] = (base,), recompile
    made: Any = type(base)(base.__name__, bases, body)
    return made


def _with_keywords(forward: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """``run`` with the arguments of a forward, if some of them are given by name only.

    ``torch.fx`` changes the code of such a function so that it can be called by position.
    """
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return run
    kinds = {p.kind for p in parameters}
    if inspect.Parameter.KEYWORD_ONLY not in kinds or kinds & _VARIADIC:
        return run
    names = {"run": run, "given": {p.name: p.default for p in parameters}}
    taken, passed = [], []
    for p in parameters:
        by_name = p.kind is p.KEYWORD_ONLY
        default = "" if p.default is p.empty else f"=given[{p.name!r}]"
        taken += ["*"] if by_name and "*" not in taken else []
        taken.append(f"{p.name}{default}")
        passed.append(f"{p.name}={p.name}" if by_name else p.name)
    made: Callable[..., Any] = eval(f"lambda {', '.join(taken)}: run({', '.join(passed)})", names)
    return made


def _leaf_name(self: nn.Module) -> str:
    decision = self.__dict__.get(HELD)
    return (decision.word if isinstance(decision, Decision) else "") + type(self).__name__


def _remade(leaf: bool, make: Callable[..., nn.Module], args: tuple[Any, ...]) -> nn.Module:
    module = make(*args)
    cls: Any = type(module)
    module.__class__ = _subclass(cls, leaf)
    return module


def plain_class(module: nn.Module) -> type[nn.Module]:
    """The class of a module as the user wrote it."""
    base: type[nn.Module] = type(module).__dict__.get(_BASE, type(module))
    return base


def held(module: nn.Module) -> Table | Decision | None:
    """The decisions that a module keeps; None for a module that is not intercepted."""
    found: Table | Decision | None = module.__dict__.get(HELD)
    return found


def intercept(module: nn.Module, decisions: Table | Decision) -> None:
    """Intercept the calls of a module, or those of the activations in its forward."""
    restore(module)
    cls: Any = type(module)
    module.__class__ = _subclass(cls, isinstance(decisions, Decision))
    module.__dict__[HELD] = decisions
    patched = module.__dict__.get("forward")
    if patched is not None:
        module.__dict__["forward"] = Patched(module, patched)


def restore(module: nn.Module) -> None:
    """Undo ``intercept``."""
    if isinstance(module.__dict__.get("forward"), Patched):
        module.__dict__["forward"] = module.__dict__["forward"].forward
    module.__dict__.pop(HELD, None)
    if _BASE in type(module).__dict__:
        module.__class__ = plain_class(module)


class Patched:
    """A forward that the user has set on one module, intercepted like that of a class.

    Args:
        module: the module.
        forward: its forward, called without the module.
    """

    def __init__(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        self.module, self.forward = module, forward
        self.__wrapped__ = forward  # the signature is that of the user's function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _call_scope(self.forward, self.module, args, kwargs)
