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
from proprelu.graph import FUNCTIONS, RECTIFIERS

__all__ = ["Record", "converted_as", "record_of"]


@dataclass(frozen=True)
class Record:
    """Which activations of a model are dropped.

    Attributes:
        sites: the number of activations after a convolution.
        dropped: the paths of those that are dropped, in execution order.
    """

    sites: int
    dropped: tuple[str, ...]

    @property
    def ratio(self) -> str:
        """The ratio of sites to activations: ``"19:10"``."""
        return f"{self.sites}:{self.sites - len(self.dropped)}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"ratio": self.ratio, "sites": self.sites, "dropped": list(self.dropped)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """What ``to_dict`` returned."""
        return cls(int(values["sites"]), tuple(map(str, values["dropped"])))


def record_of(model: nn.Module, example_input: object = None) -> Record | None:
    """The record of a model; None if it cannot be traced, or has nothing to convert."""
    try:
        with _unchanged(model):
            _, sites = inspect(model, example_input, tuple(FUNCTIONS))
    except (TypeError, ValueError):
        return None
    kinds = {site.activation.kind for site in sites.sites if site.activation.dropped}
    counted = [site for site in sites.sites if site.activation.kind in kinds | set(RECTIFIERS)]
    return Record(len(counted), tuple(s.name for s in counted if s.activation.dropped))


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
    """A copy of a model in which the activations of a record are dropped, and no others.

    Raises:
        ValueError: the model does not have these activations, or cannot be traced.
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
    return convert(model, "1:1", mask, example_input, activations=kinds)
