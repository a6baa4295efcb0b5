"""Names the first operation in which two runs of a model differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode, resolve_name

from proprelu.graph import plain


def first_difference(model: nn.Module, run: Callable[[], object]) -> str:
    """Run a converted model, and the same one without its conversion; compare each operation.

    Args:
        model: the converted model.
        run: runs it, with the same seeds each time.

    Returns:
        The first operation with another result, and the module that it is in.
    """
    found = _operations(model, run)
    with plain(model):
        expected = _operations(model, run)
    for (here, result), (there, wanted) in zip(found, expected, strict=False):
        if here != there or result != wanted:
            return there
    return "the backward"


def _operations(model: nn.Module, run: Callable[[], object]) -> list[tuple[str, float | None]]:
    recorder = _Recorder({module: path for path, module in model.named_modules()})
    before = register_module_forward_pre_hook(recorder.enter)
    after = register_module_forward_hook(recorder.leave, always_call=True)
    try:
        with recorder:
            run()
    finally:
        before.remove()
        after.remove()
    return recorder.results


class _Recorder(TorchFunctionMode):
    """Notes for each operation where it runs and a sum of its result."""

    def __init__(self, paths: dict[nn.Module, str]) -> None:
        super().__init__()
        self.paths, self.stack = paths, [""]
        self.results: list[tuple[str, float | None]] = []

    def enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append(self.paths.get(module, self.stack[-1]))

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.stack.pop()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not result.is_meta:
            name = resolve_name(func) or str(func)
            where = f"{name} in {self.stack[-1] or 'the forward'}"
            with torch.no_grad():
                self.results.append((where, float(result.detach().double().sum())))
        return result
