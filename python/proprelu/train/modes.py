"""torch's modes of the calling thread, which a training must not depend on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils._python_dispatch import _disable_current_modes

__all__ = ["default_modes", "own_modes"]

# It logs the traceback of each operation that fails in a trace, though the error is raised too.
_LOGGER = logging.getLogger("torch._subclasses.fake_tensor")


@contextmanager
def own_modes(device: torch.device) -> Iterator[None]:
    """Leave the caller's inference mode, ``no_grad`` and autocast inside the context.

    The precision is the trainer's setting, and a tensor that is made under inference mode could not
    be trained.

    Args:
        device: the one of the training.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def default_modes() -> Iterator[None]:
    """Set everything aside that changes what torch's functions return: for a trace.

    That is the default dtype and device, and the modes that intercept functions or operations.
    """
    with ExitStack() as modes:
        modes.enter_context(_unreported())
        dtype = torch.get_default_dtype()
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            modes.callback(torch.set_default_dtype, dtype)
        for mode in reversed(_get_current_function_mode_stack()):  # type: ignore[no-untyped-call]
            _pop_mode()  # type: ignore[no-untyped-call]
            modes.callback(_push_mode, mode)
        modes.enter_context(_disable_current_modes())
        yield


@contextmanager
def _unreported() -> Iterator[None]:
    """Keep torch from logging failures of a trace; what is raised is reported once."""

    def is_no_error(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR

    _LOGGER.addFilter(is_no_error)
    try:
        yield
    finally:
        _LOGGER.removeFilter(is_no_error)
