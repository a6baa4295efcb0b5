"""Keeps captured graphs, so that networks which are built alike share them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

from torch import Tensor, nn

from proprelu.graph.joint import Capture
from proprelu.graph.surroundings import Surroundings

__all__ = ["Captures"]

Make: TypeAlias = Callable[[], Capture]


class Captures:
    """The graphs that were captured last, by what they depend on.

    A graph has its parameters and buffers by name, so that one of a network is one of each other
    network that is built alike. Only the operations are shared, no memory for values.

    Args:
        most: the number of graphs to keep.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Capture] = OrderedDict()

    def get(
        self, module: nn.Module, options: Hashable, batch: Sequence[Tensor], make: Make
    ) -> Capture:
        """The graph of a module for batches of one shape.

        Args:
            module: what is captured, as it is now.
            options: what else the graph depends on.
            batch: an example of a batch.
            make: captures it, if there is no graph of a module that is built alike.
        """
        shapes = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in batch)
        key = (options, shapes, Surroundings(module).structure())
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found
