"""torch's modes of the calling thread, which a training must not depend on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils._python_dispatch import _disable_current_modes

__all__ = ["default_modes", "own_modes"]


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
        dtype = torch.get_default_dtype()
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            modes.callback(torch.set_default_dtype, dtype)
        for mode in reversed(_get_current_function_mode_stack()):  # type: ignore[no-untyped-call]
            _pop_mode()  # type: ignore[no-untyped-call]
            modes.callback(_push_mode, mode)
        modes.enter_context(_disable_current_modes())
        yield
