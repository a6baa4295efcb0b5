"""Compares a merged model with the original."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from proprelu.graph import copied, plain_class
from proprelu.graph.mode import kept_values, quiet, untouched_random
from proprelu.graph.trace import explain_input
from proprelu.tables import Table, Tabular

# The error that a dtype explains, in units of its epsilon and of the largest output; and how much
# larger than that of the original it may be.
_EPSILONS = 100
_TIMES = 10
_CONVOLUTIONS = (F.conv2d, F.conv3d, F.conv_transpose2d, F.conv_transpose3d)
_COLUMNS = ("output", "largest", "mean", "largest at the border", "mean at the border", "PyTorch's")


@dataclass(frozen=True)
class Error:
    """The difference between an output and the exact one, relative to its largest value.

    Attributes:
        largest: the largest error, of images away from the border.
        mean: the mean error, of images away from the border.
        border_largest: the largest error in the outermost rows and columns of images, else None.
        border_mean: the mean error there.
        original: the largest error of the original model, which is due to its dtype.
        allowed: the largest error that the dtype explains.
    """

    largest: float
    mean: float
    border_largest: float | None
    border_mean: float | None
    original: float
    allowed: float

    @property
    def worst(self) -> float:
        """The largest error anywhere."""
        return max(self.largest, self.border_largest or 0.0)

    @property
    def is_explained(self) -> bool:
        """Whether the error is not larger than the dtype explains."""
        return self.worst <= self.allowed  # False for NaN


@dataclass(frozen=True)
class Comparison(Tabular):
    """The errors of all outputs of a merged model. Prints as a table."""

    errors: tuple[Error, ...]

    @property
    def worst(self) -> float:
        """The largest error of any output."""
        return max((error.worst for error in self.errors), default=0.0)

    def _table(self) -> Table:
        rows = [
            (
                str(number),
                *(_number(value) for value in (e.largest, e.mean, e.border_largest, e.border_mean)),
                _number(e.original),
            )
            for number, e in enumerate(self.errors)
        ]
        return Table(_COLUMNS, rows, "errors relative to the largest output", left=1)


def verify(model: nn.Module, merged: nn.Module, x: object) -> Comparison:
    """Compare a merged model with the original.

    The original is also run in float64, which tells the errors of the merged model from those that
    its dtype has anyway.

    Args:
        model: the original, in evaluation mode.
        merged: the result of ``merge``.
        x: a tensor, or a tuple of the forward's arguments.

    Returns:
        For each output the largest and the mean error, at the border of images and away from it.
        Networks that draw random numbers are compared with the same seed, in their dtype.

    Raises:
        TypeError: one of both is not a module.
        ValueError: one is in training mode, or does not accept ``x``.
        RuntimeError: an output differs by more than its dtype explains.

    Example:
        >>> from proprelu import merge
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 3, padding=1)).eval()
        >>> x = torch.randn(1, 3, 8, 8)
        >>> bool(verify(net, merge(net, x, cost="macs"), x).worst < 1e-5)
        True
    """
    _check(model=model, merged=merged)
    inputs = x if isinstance(x, tuple) else (x,)
    with torch.no_grad(), quiet(), untouched_random(), kept_values(model), kept_values(merged):
        found, original = _outputs(merged, inputs), _outputs(model, inputs)
        is_random = not all(map(_equal, original, _outputs(model, inputs, seed=1)))
        exact = original if is_random else _exact_outputs(model, inputs) or original
    shapes, expected = ([tuple(value.shape) for value in each] for each in (found, original))
    if shapes != expected:
        raise RuntimeError(
            f"the merged model must give outputs of the shapes {expected}, got {shapes}; pass the "
            "model that it was merged from"
        )
    if not all(bool(value.isfinite().all()) for value in exact):
        raise RuntimeError(
            "the model must have finite outputs to be compared, got NaN or infinity; give images "
            "like those that it was trained with, or merge with verify=False"
        )
    errors = tuple(_error(*each) for each in zip(found, original, exact, strict=True))
    for number, error in enumerate(errors):
        if not error.is_explained:
            raise RuntimeError(
                f"the merged model must give what the original gives, got an output {number} that "
                f"differs by {error.worst:.1e} of its largest value, where {error.allowed:.1e} "
                "would be explained by its dtype; please report it"
            )
    return Comparison(errors)


def _check(**networks: nn.Module) -> None:
    for name, network in networks.items():
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"{name} must be a torch.nn.Module, got {type(network).__name__}; pass the network "
                "itself"
            )
        if network.training:
            raise ValueError(
                f"{name} must be in evaluation mode, got {plain_class(network).__name__} in "
                f"training mode; call {name}.eval()"
            )


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two outputs of one model are equal, also where they are no numbers."""
    return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())


def _exact_outputs(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor] | None:
    """The outputs in float64; None for a model that insists on another dtype."""
    try:
        with _ImageByImage():
            return _outputs(copied(model).double(), inputs, torch.float64)
    except Exception:
        return None


class _ImageByImage(TorchFunctionMode):
    """Computes convolutions one image after the other.

    In float64 torch copies what each result of a convolution reads: for a batch of large images
    that is many times the memory of the rest.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _CONVOLUTIONS or not args or args[0].dim() < 4 or len(args[0]) < 2:
            return func(*args, **kwargs)
        images, *rest = args
        return torch.cat([func(image, *rest, **kwargs) for image in images.split(1)])


def _outputs(
    model: nn.Module, inputs: tuple[Any, ...], dtype: torch.dtype | None = None, seed: int = 0
) -> list[Tensor]:
    torch.manual_seed(seed)
    try:
        outputs = model(*(_as(value, dtype) for value in inputs))
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        refusal = " ".join(str(error).split()).rstrip(".")
        raise ValueError(explain_input("x", model, inputs, refusal)) from error
    return [
        value
        for value in tree_leaves(outputs)
        if isinstance(value, Tensor) and value.is_floating_point()
    ]


def _as(value: Any, dtype: torch.dtype | None) -> Any:
    if not isinstance(value, Tensor):
        return copy.copy(value)
    return value.to(dtype, copy=True) if dtype and value.is_floating_point() else value.clone()


def _error(found: Tensor, original: Tensor, exact: Tensor) -> Error:
    scale = _largest(exact.abs()) or 1.0
    difference = (found.double() - exact).abs() / scale
    own = float(((original.double() - exact).abs() / scale).max()) if exact.numel() else 0.0
    allowed = max(_EPSILONS * torch.finfo(found.dtype).eps, _TIMES * own)
    inner = difference
    border: Tensor | None = None
    if difference.dim() == 4 and min(difference.shape[2:]) > 2:
        is_border = torch.ones(difference.shape[2:], dtype=torch.bool, device=difference.device)
        is_border[1:-1, 1:-1] = False
        border, inner = difference[..., is_border], difference[..., ~is_border]
    return Error(
        _largest(inner), _mean(inner),
        None if border is None else _largest(border),
        None if border is None else _mean(border),
        own, allowed,
    )  # fmt: skip


def _largest(values: Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else 0.0


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
