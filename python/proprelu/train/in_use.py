"""Keeps several threads from using the same parameters at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

__all__ = ["in_use"]


class _User:
    def __init__(self, modules: Sequence[nn.Module], trains: bool) -> None:
        self.modules = modules
        self.trains = trains
        self.thread = threading.get_ident()

    def shares_with(self, other: _User) -> bool:
        return not self._parameters().isdisjoint(other._parameters())

    def _parameters(self) -> set[int]:
        own = (module._parameters.values() for module in self.modules)
        return {id(parameter) for group in own for parameter in group if parameter is not None}


_changed = threading.Condition()
_users: list[_User] = []


@contextmanager
def in_use(modules: Sequence[nn.Module], trains: bool) -> Iterator[None]:
    """Use the parameters of modules in this thread alone; a prediction elsewhere is waited for.

    Args:
        modules: all modules of a model, which may share parameters with other models.
        trains: whether the parameters are trained.

    Raises:
        RuntimeError: some of the parameters are being trained by another trainer.
    """
    user = _User(modules, trains)
    with _changed:
        while any(_blocks(other, user) for other in _users):
            _changed.wait()
        _users.append(user)
    try:
        yield
    finally:
        with _changed:
            _users.remove(user)
            _changed.notify_all()


def _blocks(other: _User, user: _User) -> bool:
    """Whether the user has to wait for another one."""
    elsewhere = other.thread != user.thread
    refuses = other.trains and (user.trains or elsewhere)
    if not (refuses or elsewhere) or not other.shares_with(user):
        return False
    if refuses:
        raise RuntimeError(
            "the model is being trained by another trainer: wait until its fit returns"
        )
    return True
