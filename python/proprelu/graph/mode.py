"""Reading ``self.training`` in a trace without baking it in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class Mode:
    """Stands for one module's ``training`` while its forward is traced.

    Passed on as an argument (``F.dropout(x, p, self.training)``) it becomes a graph node that
    reads the flag anew on each call. Asked for its truth (``if self.training:``) it answers, and
    remembers that it was asked: the traced path is then that of one mode.
    """

    def __init__(self, path: str, training: bool) -> None:
        self.path = path
        self.training = training
        self.asked = False

    def __bool__(self) -> bool:
        self.asked = True
        return self.training


@contextmanager
def untouched(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Put back every attribute that is set on a module inside: a trace would leave symbols there.

    So are parameters and buffers put back that are another tensor inside.

    Yields:
        The model's own attributes.
    """
    before = {module: dict(module.__dict__) for module in model.modules()}
    tensors: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for module in before:
        for held in (module._parameters, module._buffers):
            tensors.append((held, dict(held)))
    try:
        yield before[model]
    finally:
        for module, attributes in before.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)
        for held, own in tensors:
            held.clear()
            held.update(own)


def watched_modes(model: nn.Module, training: bool | None = None) -> list[Mode]:
    """Replace each module's ``training`` by a :class:`Mode`; for use in :func:`untouched`.

    Args:
        model: the module to be traced.
        training: what each answers; None: what it is.
    """
    modes = []
    for path, module in model.named_modules():
        mode = Mode(path, module.training if training is None else training)
        modes.append(mode)
        module.__dict__["training"] = mode
    return modes


@contextmanager
def kept_modes(model: nn.Module) -> Iterator[None]:
    """Put every module back into its own mode afterwards: some may be frozen in evaluation."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
