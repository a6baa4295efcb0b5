"""Gives a symbolic trace concrete shapes, computed from an example input."""

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
)

from proprelu.graph.copying import copied
from proprelu.graph.fake import fake_mode
from proprelu.graph.mode import set_mode


class Shapes:
    """Runs each traced operation on fake tensors, which have no data, to compute its shape.

    Args:
        model: the module being traced.
        example_input: a tensor, or a tuple of the forward's arguments.
    """

    def __init__(self, model: nn.Module, example_input: object) -> None:
        self.running = False
        self._fake = fake_mode()
        self._real = model
        with FakeCopyMode(self._fake):  # a copy, because running it may change its statistics
            self._model = copied(model, lambda tensor: self._fake.from_tensor(tensor.detach()))
        inputs = example_input if isinstance(example_input, tuple) else (example_input,)
        self._inputs = [self._fake_tensor(value) for value in inputs]
        self.count = len(inputs)
        self._next = 0
        self._values: dict[fx.Node, Any] = {}

    def refusal(self) -> str | None:
        """Why the model, even untraced, does not accept the example; None if it does."""
        try:
            set_mode(self._model, False)
            # Compiled parts would read memory that fake tensors do not have.
            with self._fake, torch.no_grad(), torch.compiler.set_stance("force_eager"):
                self._model(*self._inputs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            return None  # undecided: the forward depends on data, which fake tensors lack
        except Exception as error:
            return " ".join(str(error).split()).rstrip(".") or type(error).__name__
        return None

    def _fake_tensor(self, value: object) -> object:
        return self._fake.from_tensor(value) if isinstance(value, Tensor) else value

    def of(self, node: fx.Node) -> Any:
        """The value of ``node`` for the example, None if it was not computed."""
        return self._values.get(node)

    def run(self, node: fx.Node) -> None:
        """Compute the value of a node that was just recorded."""
        with self.computing():
            self._values[node] = self._run(node)

    def same(self, node: fx.Node, as_node: fx.Node) -> None:
        """Give a node the value of another one."""
        self._values[node] = self._values.get(as_node)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute on fake tensors; nothing is traced inside."""
        self.running = True
        try:
            with self._fake, torch.no_grad():
                yield
        finally:
            self.running = False

    def _run(self, node: fx.Node) -> Any:
        def value(arg: Any) -> Any:
            return fx.node.map_arg(arg, self._value_of)

        if node.op == "placeholder":
            return self._placeholder(node)
        if node.op == "get_attr":
            get = operator.attrgetter(str(node.target))
            try:
                return get(self._model)
            except AttributeError:  # a constant that fx has set on the model during the trace
                return get(self._real)
        args, kwargs = value(node.args), value(node.kwargs)
        if node.op == "call_module":
            return self._model.get_submodule(str(node.target)).forward(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_function" and callable(node.target):
            return node.target(*args, **kwargs)
        return None

    def _value_of(self, node: fx.Node) -> Any:
        # An attribute that is only passed as an argument has not been run yet.
        if node.op == "get_attr" and node not in self._values:
            self._values[node] = self._run(node)
        return self._values.get(node)

    def _placeholder(self, node: fx.Node) -> object:
        self._next += 1
        if self._next <= len(self._inputs):
            return self._inputs[self._next - 1]
        return node.args[0] if node.args else None
