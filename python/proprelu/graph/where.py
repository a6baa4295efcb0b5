"""Says in whose file and line something happens in a forward."""

from __future__ import annotations

import functools
import inspect
import linecache
import os
import sys
import sysconfig
import traceback
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn

__all__ = ["explained", "in_hook", "is_own", "is_own_class", "line_of", "place_in"]

_LIBRARIES = tuple(
    os.path.join(os.path.dirname(file), "") for file in (torch.__file__, os.path.dirname(__file__))
)
_MODULES = nn.modules.module.__file__
_PYTHON = sysconfig.get_path("stdlib")
# Errors of torch by the name of their class, and by their message, in words.
_READS = "it is data-dependent: it reads the value of a tensor in Python (as .item() or an if does)"
_WORDS = {
    "DataDependentOutputException": _READS,
    "GuardOnDataDependentSymNode": _READS,
    "DynamicOutputShapeException": (
        "it is data-dependent: the shape of a result depends on the values of a tensor "
        "(as with x[mask] or nonzero)"
    ),
}
_MESSAGES = {
    "Found a parameter that did not receive a gradient.": "its backward changes a buffer in place",
    "Found a graph input that requires gradients, and received a mutation.": (
        "its forward changes a parameter in place"
    ),
    "expected single scalar tangent for no_tangents mode, got 1 tangents": (
        "its forward changes the gradient mode for the code after it"
    ),
}


def is_own(filename: str) -> bool:
    """Whether a file is part of the user's model, or of a library of models like torchvision."""
    if filename.startswith((*_LIBRARIES, "<")):
        return filename.startswith("<ipython")
    return not filename.startswith(_PYTHON) or "site-packages" in filename


def in_hook() -> bool:
    """Whether a hook is running that a module was given, inside of the innermost scope."""
    if torch.compiler.is_compiling():
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "_call_scope":
        before = frame.f_back
        if before is not None and before.f_code.co_filename == _MODULES:
            hook = before.f_locals.get("hook")
            if hook is not None and _code_of(hook) is frame.f_code:
                return True
        frame = before
    return False


def _code_of(hook: Any) -> CodeType | None:
    """The code of a function, a method, a partial function or an object that is called."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    if not hasattr(hook, "__code__"):  # a method has that of its function
        hook = type(hook).__call__
    found: CodeType | None = getattr(hook, "__code__", None)
    return found


def is_own_class(cls: type) -> bool:
    """Whether a class is part of the user's model."""
    module = inspect.getmodule(cls)
    file = getattr(module, "__file__", None)
    # A class of an interactive session has no file.
    return is_own(file) if file else cls.__module__ == "__main__"


def line_of(filename: str, number: int) -> str:
    """A line of code with its place: ``net.py:12 'y = f(x)'``."""
    code = linecache.getline(filename, number).strip()
    return f"{os.path.basename(filename)}:{number}" + (f" {code!r}" if code else "")


def place_in(frame: FrameType | None) -> str | None:
    """The line that runs in the innermost frame of the user's own code, from ``frame`` outwards."""
    while frame is not None and not is_own(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else line_of(frame.f_code.co_filename, frame.f_lineno)


def explained(error: BaseException, root: nn.Module) -> str:
    """An error of a forward in one line, with the line of the user's code that causes it.

    Args:
        error: the error.
        root: the module whose forward has failed; parts are named by their path in it.
    """
    words = _WORDS.get(type(error).__name__)
    if words is None:
        reason = " ".join((str(error).strip().splitlines() or ["no message"])[0].split())
        words = _MESSAGES.get(reason, f"{type(error).__name__}: {reason}")
    own = part = None
    paths = {id(module): path for path, module in root.named_modules()}
    for frame, number in traceback.walk_tb(error.__traceback__):
        if is_own(frame.f_code.co_filename):
            own = line_of(frame.f_code.co_filename, number)
        module = frame.f_locals.get("self")
        path = paths.get(id(module), "")
        if path.startswith("model."):
            part = f"{path.removeprefix('model.')} ({type(module).__name__})"
    return ", ".join(filter(None, [words, part and f"in {part}", own and f"at {own}"]))
