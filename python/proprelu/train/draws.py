"""The random numbers of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from proprelu.graph.fallback import call_operation, draws_numbers
from proprelu.graph.torch_globals import TORCH_GLOBALS

__all__ = ["Draws", "kept_cuda_generators"]


class Draws:
    """The generator of a model's random operations, such as dropout.

    torch draws from one generator of the process, which is the caller's. Inside ``active`` that
    generator has the state of this one, so that neither the caller nor a training in another thread
    sees a difference. On a GPU the numbers come from torch's generator of that GPU.

    Args:
        seed: determines all draws.
        devices: the GPUs of the training.
    """

    def __init__(self, seed: int, devices: Sequence[torch.device] = ()) -> None:
        self._seed = seed
        self._devices = devices
        self._state = _seeded(seed)

    def start(self, epoch: int) -> None:
        """Seed the generator for an epoch, so that a resumed training draws the same numbers."""
        mixed = (self._seed + (epoch + 1) * 0x9E37_79B9_7F4A_7C15) % 2**64
        self._state = _seeded(mixed)
        for device in self._devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(mixed)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let torch draw from this generator inside the context."""
        with TORCH_GLOBALS:
            before = torch.get_rng_state()
            torch.set_rng_state(self._state)
            try:
                yield
            finally:
                self._state = torch.get_rng_state()
                torch.set_rng_state(before)

    def call(self, name: str, overload: str, args: Sequence[Any]) -> list[Tensor | None]:
        """Call one operation of torch; if it draws numbers, from this generator."""
        if not draws_numbers(name, overload):
            return call_operation(name, overload, args)
        with self.active():
            return call_operation(name, overload, args)


def _seeded(seed: int) -> Tensor:
    return torch.Generator("cpu").manual_seed(seed).get_state()


@contextmanager
def kept_cuda_generators(devices: Sequence[torch.device]) -> Iterator[None]:
    """Restore torch's generators of GPUs afterwards."""
    states = [torch.cuda.get_rng_state(device) for device in devices]
    try:
        yield
    finally:
        for device, state in zip(devices, states, strict=True):
            torch.cuda.set_rng_state(state, device)
