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

    So are parameters and buffers put back that are another tensor inside, and what the model's own
    dicts and lists hold: a cache that is filled inside would be of no use outside.

    Yields:
        The model's own attributes.
    """
    before = {module: dict(module.__dict__) for module in model.modules()}
    dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
    lists: list[tuple[list[Any], list[Any]]] = []
    for attributes in before.values():
        for name, held in attributes.items():
            own = not name.startswith("_") or name in ("_parameters", "_buffers")
            if own and type(held) is dict:
                dicts.append((held, dict(held)))
            elif own and type(held) is list:
                lists.append((held, list(held)))
    try:
        yield before[model]
    finally:
        for module, attributes in before.items():
            module.__dict__.clear()
            module.__dict__.update(attributes)
        for mapping, entries in dicts:
            mapping.clear()
            mapping.update(entries)
        for sequence, items in lists:
            sequence[:] = items


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
