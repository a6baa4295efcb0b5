"""Converts one network, and compares it with the original."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from proprelu import convert, ratio_of
from proprelu.graph import FUNCTIONS, RECTIFIERS, Sites, Traced, find_sites, trace
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from catalog.entries import Entry, Shape
from catalog.operations import Operations

CONVERTS, FAILS, NO_SITE = "converts", "fails", "no site"
EXACT, CLOSE = "exact", "to 1e-5"
_RATIO = "2:1"
# A network with more parameters is made without memory: it is converted, but not run.
_MAX_PARAMETERS = 100_000_000
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        outcome: `CONVERTS`, `FAILS` or `NO_SITE`.
        sites: number of activations after convolutions.
        before: convolutions to activations of the original.
        after: convolutions to activations at 2:1.
        way: how it was traced: "symbolic", "shapes" or "modules".
        equal: how close the outputs at 1:1 are to those of the original.
        seconds: duration of the conversion.
        note: the reason if it fails or has no site; else what is special.
    """

    name: str
    outcome: str
    sites: int = 0
    before: str = ""
    after: str = ""
    way: str = ""
    equal: str = ""
    seconds: float = 0.0
    note: str = ""


class _NothingToConvert(Exception):
    """The network has no site; the message says what is missing."""


def check(entry: Entry) -> Row:
    """Build, convert and compare; the row contains any error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from the networks themselves
        try:
            return _check(entry)
        except _NothingToConvert as reason:
            return Row(entry.name, NO_SITE, note=str(reason))
        except Exception as error:
            return Row(entry.name, FAILS, note=_in_a_line(error))
        finally:
            gc.collect()


def _check(entry: Entry) -> Row:
    model = _built(entry)
    _need_convolutions(model)
    x, expected, operations = _run(model, entry.shapes)
    try:
        traced, example = _traced(model, x)
    except ValueError:
        if operations is not None and not operations.have_sites:
            raise _NothingToConvert("no activation after a convolution") from None
        raise
    sites, kinds, note = _sites(traced)
    options = {"example_input": example, "activations": kinds}
    start = time.perf_counter()
    converted = convert(model, _RATIO, **options)
    seconds = time.perf_counter() - start
    after = str(ratio_of(converted, activations=kinds))
    if expected is not None:
        _forward(converted, x)
    del converted
    equal = _equal(convert(model, "1:1", inplace=True, **options), x, expected)
    outcome = FAILS if equal.startswith("no:") else CONVERTS
    before = f"{len(sites.convs)}:{len(sites.sites)}"
    way = getattr(traced, "way", "symbolic")
    return Row(entry.name, outcome, len(sites.sites), before, after, way, equal, seconds, note)


def _built(entry: Entry) -> nn.Module:
    """The network in evaluation mode, with random weights; without memory if they are many."""
    try:
        with torch.device("meta"):
            model = entry.build()
        if sum(p.numel() for p in model.parameters()) > _MAX_PARAMETERS:
            return model.eval()
    except Exception:
        pass  # its constructor reads values
    torch.manual_seed(0)
    return entry.build().eval()


def _need_convolutions(model: nn.Module) -> None:
    convolutions = (nn.modules.conv._ConvNd,)
    if not any(isinstance(module, convolutions) for module in model.modules()):
        raise _NothingToConvert("no convolution")


def _run(model: nn.Module, shapes: Sequence[Shape]) -> tuple[Tensor, Any, Operations | None]:
    """An input that the model accepts, its output, and the operations in between."""
    on_meta = next(model.parameters()).is_meta
    device = "meta" if on_meta else "cpu"
    generator = None if on_meta else torch.Generator().manual_seed(0)
    for shape in shapes:
        x = torch.randn(shape, device=device, generator=generator)
        operations = Operations()
        try:
            with operations:
                return x, _forward(model, x), operations
        except Exception as error:
            problem = error
    if on_meta:
        return x, None, None
    raise RuntimeError(f"its own forward fails: {_in_a_line(problem)}")


def _traced(model: nn.Module, x: Tensor) -> tuple[Traced, Tensor | None]:
    """The graph, and the example input if tracing needs one."""
    try:
        return trace(model), None
    except ValueError:
        return trace(model, x), x


def _sites(traced: Traced) -> tuple[Sites, tuple[str, ...], str]:
    """The sites of ReLUs, or of all activations if there are none; their kinds, and a note."""
    rectified, every = find_sites(traced, RECTIFIERS), find_sites(traced, tuple(FUNCTIONS))
    if not every.convs:
        raise _NothingToConvert("no convolution that counts")
    if not every.sites:
        raise _NothingToConvert("no activation after a convolution")
    counted = (site.activation.kind for site in every.sites)
    others = ", ".join(sorted(set(counted) - set(RECTIFIERS)))
    if not rectified.sites:
        return every, tuple(FUNCTIONS), f"with activations={others}"
    more = len(every.sites) - len(rectified.sites)
    return rectified, tuple(RECTIFIERS), f"{more} more with activations={others}" if more else ""


def _equal(converted: nn.Module, x: Tensor, expected: Any) -> str:
    if x.is_meta:
        return "made without memory, not run"
    found, wanted = _tensors(_forward(converted, x)), _tensors(expected)
    pairs = list(zip(found, wanted, strict=True))
    if not all(value.isfinite().all() for value in wanted):
        return "no: the network's own output is not finite"
    if all(torch.equal(mine, theirs) for mine, theirs in pairs):
        return EXACT
    error = max(float((mine - theirs).abs().max()) for mine, theirs in pairs)
    scale = max(1.0, max(float(value.abs().max()) for value in wanted))
    return CLOSE if error <= _TOLERANCE * scale else f"no: off by {error / scale:.1g}"


@torch.no_grad()
def _forward(model: nn.Module, x: Tensor) -> Any:
    return model(x.clone())  # the model may work in place


def _tensors(output: Any) -> list[Tensor]:
    return [value for value in tree_leaves(output) if isinstance(value, Tensor)]


def _in_a_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"
