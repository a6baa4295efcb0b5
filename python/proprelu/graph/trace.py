"""Traces a model to a torch.fx graph, to find out what its forward does; it is never run."""

import os
import sysconfig
import traceback
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from proprelu.graph.events import Event, Run
from proprelu.graph.mode import kept_values, quiet, untouched, untouched_random, watched_modes
from proprelu.graph.places import places
from proprelu.graph.shaped import Shapes
from proprelu.graph.torch_globals import TORCH_GLOBALS
from proprelu.graph.tracer import Tracer

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
        events: the calls of activations, in execution order.
        opaque: calls of modules that were not looked into, by the call that made them.
        training: the trace of training mode, where it differs.
        constants: tensors that the forward creates without any input, by their name in the graph.
        way: how it was traced: ``"symbolic"``, or with the ``"shapes"`` of an example.
    """

    model: nn.Module
    graph: fx.Graph
    events: list[Event] = field(default_factory=list)
    opaque: list[tuple[Run, str]] = field(default_factory=list)
    training: "Traced | None" = None
    constants: dict[str, Tensor] = field(default_factory=dict)
    way: str = "symbolic"

    @property
    def paths(self) -> list["Traced"]:
        """The traces of evaluation and of training, or the one trace of both."""
        return [self] if self.training is None else [self, self.training]


def trace(model: nn.Module, example_input: object = None) -> Traced:
    """Trace ``model`` symbolically.

    Args:
        model: any module that torch.fx can trace. It is not changed. One that was converted is
            traced as it was before; the traces of both find the same activations.
        example_input: a tensor, or a tuple of the forward's arguments. Its shapes are used only if
            the forward needs concrete shapes to be traced; the model has to accept it in any case.

    Returns:
        The graph.

    Raises:
        ValueError: the model cannot be traced, or it does not accept the example. The message says
            where, and what to do about it.
    """
    # A trace changes the model for a while, and torch's classes.
    with TORCH_GLOBALS:
        shapes = None if example_input is None else Shapes(model, example_input)
        with quiet():
            refusal = shapes and shapes.refusal()
        if refusal:
            raise ValueError(explain_input("example_input", model, example_input, refusal))
        try:
            traced = _trace(model, None)
        except ValueError:
            if example_input is None:
                raise
            traced = _trace(model, example_input)
    for path, training in zip(traced.paths, (False, True), strict=False):
        for event, decision, _ in places(model, path.events, training):
            if event.node is not None:
                event.node.meta["decision"] = decision
    return traced


def _trace(model: nn.Module, example_input: object) -> Traced:
    traced, branched = _trace_once(model, example_input)
    if not branched:
        return traced
    evaluation, _ = _trace_once(model, example_input, training=False)
    training, _ = _trace_once(model, example_input, training=True)
    if _source(evaluation) != _source(training):
        evaluation.training = training
    return evaluation


def _source(traced: Traced) -> str:
    return traced.graph.python_code("self").src


def _trace_once(
    model: nn.Module, example_input: object, training: bool | None = None
) -> tuple[Traced, bool]:
    """Trace the forward once; returns also whether it branched on the training mode."""
    shapes = None if example_input is None else Shapes(model, example_input)
    tracer = Tracer(model, shapes)
    with untouched(model) as before, kept_values(model), untouched_random(), quiet():
        modes = watched_modes(model, training)
        try:
            graph = tracer.record()
        except Exception as error:
            raise ValueError(_explain(model, tracer, error, shapes is not None)) from error
        new = {k: v for k, v in model.__dict__.items() if k not in before}  # set there by fx
    constants = {name: value for name, value in new.items() if isinstance(value, Tensor)}
    way = "symbolic" if shapes is None else "shapes"
    traced = Traced(model, graph, tracer.events, tracer.opaque, None, constants, way)
    return traced, any(mode.branched for mode in modes)


def _explain(model: nn.Module, tracer: Tracer, error: Exception, shaped: bool) -> str:
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


def explain_input(name: str, model: nn.Module, given: object, refusal: str) -> str:
    """What is wrong with an input, in one line.

    Args:
        name: of the argument.
        model: what does not accept it.
        given: a tensor, or a tuple of the forward's arguments.
        refusal: what the model says about it.
    """
    values = given if isinstance(given, tuple) else (given,)
    got = [
        f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        for value in values
    ]
    return (
        f"{name} must be what {type(model).__name__} is called with, got {', '.join(got)} "
        f"({refusal}); give a batch such as torch.randn(2, 3, 224, 224) in the model's own sizes"
    )


def _is_own(filename: str) -> bool:
    """Whether a file is part of the user's model, or of a library of models like torchvision."""
    library = filename.startswith((_TORCH, _HERE))
    return not library and (not filename.startswith(_PYTHON) or "site-packages" in filename)
