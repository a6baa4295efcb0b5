"""What a file records about the conversion of the model whose weights it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from proprelu.convert.convert import convert
from proprelu.convert.inspect import inspect
from proprelu.convert.remove_layers import StandIn, put_removed, removed_in
from proprelu.graph import FUNCTIONS, RECTIFIERS

__all__ = ["Record", "converted_as", "record_of"]


@dataclass(frozen=True)
class Record:
    """Which activations of a model are dropped, and which layers removed.

    Attributes:
        sites: the number of activations after a convolution.
        dropped: the paths of those that are dropped, in execution order.
        removed: what stands for removed layers.
    """

    sites: int
    dropped: tuple[str, ...]
    removed: tuple[StandIn, ...] = ()

    @property
    def ratio(self) -> str:
        """The ratio of sites to activations: ``"19:10"``."""
        return f"{self.sites}:{self.sites - len(self.dropped)}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        values = {"ratio": self.ratio, "sites": self.sites, "dropped": list(self.dropped)}
        return values | ({"removed": list(map(list, self.removed))} if self.removed else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """What ``to_dict`` returned."""
        removed = tuple(
            StandIn(str(path), str(kind), bool(is_zero))
            for path, kind, is_zero in values.get("removed", ())
        )
        return cls(int(values["sites"]), tuple(map(str, values["dropped"])), removed)


def record_of(model: nn.Module, example_input: object = None) -> Record | None:
    """The record of a model; None if it cannot be traced, or has nothing to convert."""
    try:
        with _unchanged(model):
            _, sites = inspect(model, example_input, tuple(FUNCTIONS))
    except (TypeError, ValueError):
        return None
    kinds = {site.activation.kind for site in sites.sites if site.activation.dropped}
    counted = [site for site in sites.sites if site.activation.kind in kinds | set(RECTIFIERS)]
    dropped = tuple(site.name for site in counted if site.activation.dropped)
    return Record(len(counted), dropped, removed_in(model))


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Put back what a traced forward changes for good: buffers, and torch's random state."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def converted_as(model: nn.Module, record: Record, example_input: object = None) -> nn.Module:
    """A copy of a model without the activations and layers that are gone in a record.

    All other activations are applied.

    Raises:
        ValueError: the model does not have these activations or layers, or cannot be traced.
    """
    kinds = tuple(FUNCTIONS)
    _, sites = inspect(model, example_input, kinds)
    names = [site.name for site in sites.sites]
    missing = [name for name in record.dropped if name not in names]
    if missing:
        raise ValueError(
            f"model must have the activations that are dropped in the file, got a "
            f"{type(model).__name__} without {missing[0]}; build the model that it was saved from"
        )
    mask = [name not in record.dropped for name in names]
    converted = convert(model, "1:1", mask, example_input, activations=kinds)
    for stand_in in record.removed:
        try:
            put_removed(converted, stand_in)
        except AttributeError:
            raise ValueError(
                f"model must have the layers that are removed in the file, got a "
                f"{type(model).__name__} without {stand_in.path}; build the model that it was "
                "saved from"
            ) from None
    return converted
