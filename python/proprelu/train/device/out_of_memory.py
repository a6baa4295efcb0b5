"""What to say where the memory of a device has run out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch


@contextlib.contextmanager
def memory_explained(
    device: torch.device, batch_size: int, needed: Callable[[], int], free: Callable[[], int]
) -> Iterator[None]:
    """Where memory runs out inside, one line says what a step needs and which batch would fit.

    Args:
        device: whose memory it is.
        batch_size: images in a step.
        needed: gives the bytes of a step.
        free: gives the bytes that a step may take.
    """
    try:
        yield
    except RuntimeError as error:
        size, there = needed(), free()
        # An operation that torch could not run has told why on the error stream alone.
        silent = "torch could not run" in str(error) and size > there * 8 // 10
        if "out of memory" not in str(error) and not silent:
            raise
        message = out_of_memory(device, batch_size, size, there)
    else:
        return
    # Not from the error: its frames hold tensors.
    raise torch.OutOfMemoryError(message)


def out_of_memory(device: torch.device, batch_size: int, needed: int, free: int) -> str:
    """What to say where the memory of a device has run out."""
    fits = batch_size * free // max(needed, 1)
    # Whatever is freed comes in pieces: the whole of it is never to be had.
    fits = min(fits * 9 // 10, batch_size - 1)
    advice = f"batch_size={fits} would fit" if fits > 0 else "not even one image would fit"
    return (
        f"{device} is out of memory: a step of {batch_size} images needs about "
        f"{needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; {advice}, "
        'and memory="low" takes less'
    )
