"""The error when the memory of a device is exhausted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch


@contextlib.contextmanager
def memory_explained(
    device: torch.device, batch_size: int, needed: Callable[[], int], free: Callable[[], int]
) -> Iterator[None]:
    """Replace an out-of-memory error by one line with the memory needed and a batch that fits.

    Args:
        device: the device that runs the step.
        batch_size: images in a step.
        needed: returns the bytes that a step needs.
        free: returns the bytes that a step may use.

    Raises:
        torch.OutOfMemoryError: the memory was exhausted inside the context.
    """
    try:
        yield
    except RuntimeError as error:
        size, there = needed(), free()
        # If torch could not run an operation, the reason is only on the error stream.
        silent = "torch could not run" in str(error) and size > there * 8 // 10
        if "out of memory" not in str(error) and not silent:
            raise
        message = out_of_memory(device, batch_size, size, there)
    else:
        return
    # Raised outside the handler, because the frames of the first error hold tensors.
    raise torch.OutOfMemoryError(message)


def out_of_memory(device: torch.device, batch_size: int, needed: int, free: int) -> str:
    """The message of the error."""
    fits = batch_size * free // max(needed, 1)
    # Free memory is fragmented, so not all of it can be used.
    fits = min(fits * 9 // 10, batch_size - 1)
    advice = f"batch_size={fits} would fit" if fits > 0 else "not even one image would fit"
    return (
        f"{device} is out of memory: a step of {batch_size} images needs about "
        f"{needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; {advice}, "
        'and memory="low" takes less'
    )
