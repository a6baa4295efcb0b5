"""Finds hooks that run in each step of a plain loop and would be left out of a captured one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules import module as modules

from proprelu.graph.encode import CaptureError
from proprelu.graph.where import line_of

__all__ = ["check_hooks"]

_OF_ALL_MODULES = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
)


def check_hooks(step: nn.Module, training: bool) -> None:
    """Raise ``CaptureError`` for a hook that a capture would not run.

    Forward hooks of a module are not among them: a trace records what they do.

    Args:
        step: the model with its loss.
        training: whether the backward is captured too.
    """
    for name in _OF_ALL_MODULES:
        _refuse("a hook is registered for all modules", getattr(modules, name).values())
    if not training:
        return
    for path, parameter in step.named_parameters():
        path = path.removeprefix("model.")
        _refuse(f"{path} has a gradient hook", (parameter._backward_hooks or {}).values())
        after = getattr(parameter, "_post_accumulate_grad_hooks", None) or {}
        _refuse(f"{path} has a hook after its gradient", after.values())
    for path, module in step.named_modules():
        name = path.removeprefix("model.") or type(module).__name__
        hooks = (*module._backward_pre_hooks.values(), *module._backward_hooks.values())
        _refuse(f"{name} has a backward hook", hooks)


def _refuse(what: str, hooks: Iterable[Any]) -> None:
    for hook in hooks:
        code = getattr(getattr(hook, "__func__", hook), "__code__", None)
        where = f", {line_of(code.co_filename, code.co_firstlineno)}" if code else ""
        raise CaptureError(f"{what}{where}")
