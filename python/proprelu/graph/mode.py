"""Traces reads of ``self.training`` as graph nodes instead of constants."""

import random
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

# How random generators give their states and take them.
_STATES = (("getstate", "setstate"), ("get_state", "set_state"))


class Mode:
    """Replaces one module's ``training`` flag while its forward is traced.

    Passed on as an argument (``F.dropout(x, p, self.training)``) it becomes a graph node that
    reads the flag in each call. Used as a condition (``if self.training:``) it has the truth value
    of the flag and sets ``branched``, because the trace then holds for one mode only.

    Args:
        path: the path of the module.
        training: the truth value.
    """

    def __init__(self, path: str, training: bool) -> None:
        self.path = path
        self.training = training
        self.branched = False

    def __bool__(self) -> bool:
        self.branched = True
        return self.training


@contextmanager
def untouched(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Restore all attributes of all modules afterwards: a forward would store symbols in them.

    Parameters and buffers that are replaced inside are restored too, and so are the contents of the
    modules' own dicts and lists, because a cache that is filled during a trace is useless later.

    Args:
        model: the module to be traced.

    Yields:
        The attributes of ``model`` itself, as they were before.
    """
    before = {module: dict(module.__dict__) for module in model.modules()}
    undone = [
        undo_of(held)
        for attributes in before.values()
        for name, held in attributes.items()
        if not name.startswith("_") or name in ("_parameters", "_buffers")
    ]
    try:
        yield before[model]
    finally:
        for module, attributes in before.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)
        for undo in undone:
            undo()


@contextmanager
def kept_values(model: nn.Module) -> Iterator[None]:
    """Restore the values of buffers, and of tensors in attributes, afterwards.

    Operations on them that write in place are carried out even while a model is traced.

    Args:
        model: the module to be traced or run.
    """
    attributes = (value for module in model.modules() for value in module.__dict__.values())
    tensors = [*model.buffers(), *(value for value in attributes if isinstance(value, Tensor))]
    values = [(tensor, tensor.detach().clone()) for tensor in tensors if _has_data(tensor)]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in values:
                if not torch.equal(tensor, value):
                    tensor.copy_(value)


def _has_data(tensor: Tensor) -> bool:
    return not (tensor.is_meta or isinstance(tensor, FakeTensor))


def undo_of(held: object) -> Callable[[], None]:
    """A function that gives a container, or an object with attributes, its present content back."""
    if isinstance(held, dict):
        entries = dict(held)
        return lambda: _refill(held, held.update, entries)
    if isinstance(held, (list, deque)):
        items = list(held)
        return lambda: _refill(held, held.extend, items)
    if isinstance(held, set):
        members = set(held)
        return lambda: _refill(held, held.update, members)
    if isinstance(held, np.random.Generator):
        bits, state = held.bit_generator, held.bit_generator.state
        return lambda: setattr(bits, "state", state)
    for read, write in _STATES:
        if hasattr(held, read) and hasattr(held, write):
            return partial(getattr(held, write), getattr(held, read)())
    whole = isinstance(held, (nn.Module, type, ModuleType, FunctionType, Tensor))
    ours = type(held).__module__.startswith("proprelu.")
    attributes = None if whole or ours else getattr(held, "__dict__", None)
    return (lambda: None) if attributes is None else undo_of(attributes)


def _refill(held: Any, put: Callable[[Any], Any], content: Any) -> None:
    held.clear()
    put(content)


def watched_modes(model: nn.Module, training: bool | None = None) -> list[Mode]:
    """Replace each module's ``training`` by a ``Mode``; for use inside ``untouched``.

    Args:
        model: the module to be traced.
        training: the truth value of each mode; None for that of the module.

    Returns:
        The modes, one for each module.
    """
    modes = []
    for path, module in model.named_modules():
        mode = Mode(path, module.training if training is None else training)
        modes.append(mode)
        module.__dict__["training"] = mode
    return modes


def start_training(model: nn.Module) -> None:
    """Put a model into training mode, except for the parts that are frozen.

    A part is frozen if it is in evaluation mode while the whole model is in training mode. An
    overridden ``train`` of a module is called, as in a plain loop.
    """
    frozen = [module for module in model.modules() if model.training and not module.training]
    model.train()
    for module in frozen:
        module.training = False


@contextmanager
def kept_modes(model: nn.Module, modules: Sequence[nn.Module] | None = None) -> Iterator[bool]:
    """Restore each module's own mode afterwards: some may be frozen in evaluation mode.

    Args:
        model: the model.
        modules: its ``parts``, where they are at hand.

    Yields:
        Whether any module is in training mode.
    """
    modules = parts(model) if modules is None else modules
    modes = [module.training for module in modules]
    try:
        yield any(modes)
    finally:
        if model.training != modes[0]:
            model.train(modes[0])  # an override may do more than to set the flags
        if [module.training for module in modules] != modes:
            for module, training in zip(modules, modes, strict=True):
                module.training = training


def parts(model: nn.Module) -> list[nn.Module]:
    """All modules of a model, itself first: in a tenth of the time that ``modules`` takes."""
    found = [model]
    seen = {model}
    for module in found:
        for child in module._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                found.append(child)
    return found


def set_mode(model: nn.Module, training: bool) -> None:
    """Set the mode of a model; an exported one has the mode that it was exported in."""
    with suppress(NotImplementedError):
        model.train(training)


@contextmanager
def quiet() -> Iterator[None]:
    """Show no warnings: the model's own are about values that it gets outside of a trace."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def untouched_random() -> Iterator[None]:
    """Restore the states of the random generators of Python, NumPy and torch afterwards."""
    numpy = sys.modules.get("numpy")
    before = random.getstate(), None if numpy is None else numpy.random.get_state()
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if used else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(before[0])
        if numpy is not None:
            numpy.random.set_state(before[1])
