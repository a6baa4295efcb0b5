"""Everything in Python that a forward may depend on or change, beside its tensors."""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from proprelu.graph.mode import undo_of
from proprelu.graph.prints import Is, is_plain, print_of
from proprelu.graph.where import is_own, is_own_class

__all__ = ["Surroundings"]

_OF_TORCH = frozenset(nn.Module().__dict__) - {"training"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
# How far functions that call functions are followed.
_DEPTH = 4


@dataclass(frozen=True)
class _Variable:
    read: Callable[[], Any]
    write: Callable[[Any], Any]


_GENERATORS = {
    "draws from Python's random module": _Variable(random.getstate, random.setstate),
    "draws from NumPy's random module": _Variable(
        lambda: np.random.get_state(legacy=False), np.random.set_state
    ),
}


class Surroundings:
    """The attributes, modes and hooks of modules, and the globals that their code uses.

    A captured step holds them as they were when it was captured.

    Args:
        root: the module with all others. Its parts are named by their path.
    """

    def __init__(self, root: nn.Module) -> None:
        self._parts = [(_short(path), module) for path, module in root.named_modules()]
        self._variables: dict[str, _Variable] = {}
        self._functions: list[FunctionType] = []
        self._visited: set[int] = set()
        for _, module in self._parts:
            self._visit_class(type(module), 0)
            for held in module.__dict__.values():
                self._visit(held, 0)
            for hooks in _HOOKS:
                for hook in module.__dict__[hooks].values():
                    self._visit(hook, 0)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Restore the variables and the states of the random generators afterwards.

        The attributes of modules are left to ``untouched``.
        """
        variables = [*self._variables.values(), *_GENERATORS.values()]
        before = [
            (variable, value, undo_of(value))
            for variable in variables
            for value in [variable.read()]
        ]
        try:
            yield
        finally:
            for variable, value, undo in before:
                undo()
                if variable.read() is not value:
                    variable.write(value)

    def plain_values(self, before: Mapping[str, Hashable]) -> Callable[[], None]:
        """A function that gives what has changed the content that it has now.

        What a forward notes each time alike, such as the shape that it has seen, is there after a
        plain loop. So it is put back when all else has been restored. It does nothing if anything
        with tensors has changed: a cache and its key belong together.

        Args:
            before: the state before the changes, from ``settings``.
        """
        changed = {what for what, state in self.settings().items() if state != before.get(what)}
        variables = {**self._attributes(), **self._variables}
        values = {what: variables[what].read() for what in changed & variables.keys()}
        if len(values) < len(changed) or not all(map(is_plain, values.values())):
            return lambda: None
        refills = [undo_of(value) for value in values.values()]

        def put() -> None:
            for what, value in values.items():
                variables[what].write(value)
            for refill in refills:
                refill()

        return put

    def now(self) -> dict[str, Hashable]:
        """The state of everything, by what a change of it is called."""
        state: dict[str, Hashable] = {}
        for what, generator in _GENERATORS.items():
            state[what] = print_of(generator.read())
        state |= self.settings()
        return state

    def settings(self) -> dict[str, Hashable]:
        """The same without the random generators, which are no settings."""
        state: dict[str, Hashable] = {
            what: print_of(attribute.read()) for what, attribute in self._attributes().items()
        }
        for path, module in self._parts:
            of = f" of {path}" if path else ""
            for hooks in _HOOKS:
                state[f"changes {hooks}{of}"] = tuple(map(Is, module.__dict__[hooks].values()))
            state[f"changes the parameters{of}"] = tuple(_parameters(module))
            state[f"changes the buffers{of}"] = tuple(map(Is, module._buffers.values()))
            state[f"changes the parts{of}"] = tuple(map(Is, module._modules.values()))
        for what, variable in self._variables.items():
            state[what] = print_of(variable.read())
        return state

    def structure(self) -> Hashable:
        """What a capture depends on, with modules, parameters and buffers by their names.

        It is equal for two networks that are built alike, whatever the values of their parameters
        and buffers, so that a capture of one is one of the other. Other tensors, and hooks, are
        equal to themselves only.
        """
        root = self._parts[0][1]
        parts = [(path, type(module), Is(type(module).forward)) for path, module in self._parts]
        names: dict[int, Hashable] = {id(module): ("part", path) for path, module in self._parts}
        for name, tensor in (*root.named_parameters(), *root.named_buffers()):
            names[id(tensor)] = _described(name, tensor)
        codes = [Is(function.__code__) for function in self._functions]
        settings = [(what, _named(state, names)) for what, state in self.settings().items()]
        return (*parts, *names.values(), *codes, *settings)

    def _attributes(self) -> dict[str, _Variable]:
        """The attributes that the modules have now."""
        return {
            f"changes the attribute {name}{f' of {path}' if path else ''}": _entry(
                module.__dict__, name
            )
            for path, module in self._parts
            for name in module.__dict__
            if name not in _OF_TORCH
        }

    def _visit(self, held: object, depth: int) -> None:
        """Find the variables that a function, or an object with methods, uses."""
        if id(held) in self._visited or depth > _DEPTH:
            return
        if isinstance(held, FunctionType):
            self._visited.add(id(held))
            self._visit_function(held, depth)
        elif isinstance(held, (list, tuple, dict)):
            for item in held.values() if isinstance(held, dict) else held:
                self._visit(item, depth + 1)
        elif inspect.ismethod(held):
            self._visit(held.__func__, depth)
            self._visit(held.__self__, depth)
        elif isinstance(held, type):
            self._visit_class(held, depth)
        elif hasattr(held, "__dict__") and not isinstance(held, (nn.Module, ModuleType)):
            self._visit_class(type(held), depth)
            if is_own_class(type(held)):
                what = f"changes an instance of {type(held).__name__}"
                self._variables[what] = _Variable(lambda: held, lambda value: None)

    def _visit_class(self, kind: type, depth: int) -> None:
        for cls in kind.__mro__:
            if id(cls) in self._visited or not is_own_class(cls):
                continue
            self._visited.add(id(cls))
            for name, held in list(vars(cls).items()):
                function = getattr(held, "__func__", held)
                function = held.fget if isinstance(held, property) else function
                if isinstance(function, FunctionType):
                    self._visit(function, depth)
                elif not name.startswith("__"):
                    what = f"changes the class attribute {cls.__name__}.{name}"
                    self._variables[what] = _attribute(cls, name)

    def _visit_function(self, function: FunctionType, depth: int) -> None:
        if not is_own(function.__code__.co_filename):
            return
        self._functions.append(function)
        file = os.path.basename(function.__code__.co_filename)
        space = function.__globals__
        for name in _names(function.__code__):
            if name in space:
                what = f"changes the global variable {name} of {file}"
                self._variables[what] = _entry(space, name)
                self._visit(space[name], depth + 1)
        cells = function.__closure__ or ()
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            what = f"changes the variable {name} around {function.__name__} of {file}"
            self._variables[what] = _cell(cell)
            self._visit(self._variables[what].read(), depth + 1)
        if function.__defaults__:
            what = f"changes a default argument of {function.__name__} of {file}"
            defaults = function.__defaults__
            self._variables[what] = _Variable(lambda: defaults, lambda value: None)


def _parameters(module: nn.Module) -> Iterator[Hashable]:
    for parameter in module._parameters.values():
        yield Is(parameter)
        if parameter is not None:
            yield parameter.requires_grad
            yield bool(parameter._backward_hooks)


def _described(name: str, tensor: Tensor) -> Hashable:
    return (type(tensor), name, tensor.shape, tensor.stride(), tensor.dtype, tensor.requires_grad)


def _named(state: Hashable, names: Mapping[int, Hashable]) -> Hashable:
    """A state from ``print_of``, with the objects that have names replaced by these."""
    if isinstance(state, Is):
        return names.get(id(state.held), state)
    if not isinstance(state, tuple):
        return state
    first = state[0] if state else None
    if isinstance(first, Is) and isinstance(first.held, Tensor) and id(first.held) in names:
        return names[id(first.held)]  # without the number of its changes
    return tuple(_named(item, names) for item in state)


def _short(path: str) -> str:
    return "" if path == "model" else path.removeprefix("model.")


def _names(code: CodeType) -> set[str]:
    """The names that a function, and functions defined inside it, may read as globals."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _entry(space: dict[str, Any], name: str) -> _Variable:
    return _Variable(lambda: space.get(name), lambda value: space.__setitem__(name, value))


def _attribute(cls: type, name: str) -> _Variable:
    return _Variable(lambda: vars(cls).get(name), lambda value: setattr(cls, name, value))


def _cell(cell: Any) -> _Variable:
    def read() -> Any:
        try:
            return cell.cell_contents
        except ValueError:  # an empty cell
            return None

    return _Variable(read, lambda value: setattr(cell, "cell_contents", value))
