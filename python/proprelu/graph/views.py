"""Makes ``Tensor.view`` work for any memory format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["AnyOrderViews"]


class AnyOrderViews(TorchFunctionMode):
    """Makes ``x.view(...)`` copy where it would raise an error, as ``x.reshape(...)`` does.

    Images are stored in channels-last format here. In this format the ``x.view(len(x), -1)``
    between the convolutions and the classifier of many networks would fail.

    Example:
        >>> x = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
        >>> with AnyOrderViews():
        ...     y = x.view(2, 48)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.view and not _is_of_dtype(args, kwargs):
            return Tensor.reshape(*args, *kwargs.values())
        if func is Tensor.view_as:
            return Tensor.reshape_as(*args, *kwargs.values())
        return func(*args, **kwargs)


def _is_of_dtype(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return any(isinstance(value, torch.dtype) for value in (*args, *kwargs.values()))
