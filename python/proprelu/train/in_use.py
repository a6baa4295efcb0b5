"""Keeps several threads from using the same parameters at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from proprelu.graph.mode import parts

__all__ = ["in_use", "parameters"]


@dataclass(frozen=True)
class _User:
    thread: int
    trains: bool


_changed = threading.Condition()
_users: dict[int, list[_User]] = {}


def parameters(*modules: nn.Module) -> list[nn.Parameter]:
    """All parameters of the modules; one with two names may occur twice."""
    found: list[nn.Parameter | None] = []
    for part in (part for module in modules for part in parts(module)):
        found += part._parameters.values()
    return [parameter for parameter in found if parameter is not None]


@contextmanager
def in_use(used: Sequence[Tensor], trains: bool) -> Iterator[None]:
    """Use parameters in this thread alone; a prediction in another thread is waited for.

    Args:
        used: the parameters of a model, which it may share with other models.
        trains: whether they are trained.

    Raises:
        RuntimeError: the parameters are being trained by another trainer.
    """
    user = _User(threading.get_ident(), trains)
    keys = [id(parameter) for parameter in used]
    with _changed:
        while others := [other for key in keys for other in _users.get(key, ())]:
            _check(others, user)
            if all(other.thread == user.thread for other in others):
                break
            _changed.wait()
        for key in keys:
            _users.setdefault(key, []).append(user)
    try:
        yield
    finally:
        with _changed:
            for key in keys:
                _users[key].remove(user)
                if not _users[key]:
                    del _users[key]
            _changed.notify_all()


def _check(others: Sequence[_User], user: _User) -> None:
    for other in others:
        if other.trains and (user.trains or other.thread != user.thread):
            raise RuntimeError(
                "the model is being trained by another trainer: wait until its fit returns"
            )
