"""Pad, crop, flip and normalize: on the GPU as operations of torch, and in a DataLoader's worker.

Both do what `proprelu.Augment(pad, flip)` does: black pixels around an image, a crop back to its
size, and a mirror image half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# Mean and standard deviation of evenly drawn bytes, as 0..1: the random images of all systems.
MEAN, STD = 0.5, 0.289


def scale_and_shift(mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Factor and summand, (C,) each, that turn bytes into normalized numbers."""
    means, stds = torch.tensor(mean), torch.tensor(std)
    return 1 / (255 * stds), -means / stds


def draws(shape: tuple[int, ...], pad: int, device: str) -> Tensor:
    """Random draws, int64 (..., 3, N): rows down, columns right, and 1 for a flip."""
    *many, batch = shape
    crops = torch.randint(2 * pad + 1, (*many, 2, batch), device=device)
    flips = torch.randint(2, (*many, 1, batch), device=device)
    return torch.cat([crops, flips], dim=-2)


def no_draws(batch: int, pad: int, device: str) -> Tensor:
    """The draws with which images are only normalized, (3, N)."""
    centered = torch.full((2, batch), pad, device=device)
    return torch.cat([centered, torch.zeros_like(centered[:1])])


def augmented(pixels: Tensor, drawn: Tensor, scale: Tensor, shift: Tensor, pad: int) -> Tensor:
    """Augment (N, H, W, C) bytes; returns normalized bfloat16 (N, C, H, W) in channels_last.

    One gather crops and flips, with the index of each row and column in the padded image.
    """
    count, height, width, _ = pixels.shape
    down, right, flip = drawn[0, :, None], drawn[1, :, None], drawn[2, :, None]
    columns = torch.arange(width, device=pixels.device)
    columns = torch.where(flip > 0, width - 1 - columns, columns) + right
    rows = torch.arange(height, device=pixels.device) + down
    images = torch.arange(count, device=pixels.device)
    padded = F.pad(pixels, (0, 0, pad, pad, pad, pad))
    cropped = padded[images[:, None, None], rows[:, :, None], columns[:, None, :]]
    return (cropped * scale + shift).to(torch.bfloat16).permute(0, 3, 1, 2)


def augmented_in_worker(
    pixels: np.ndarray, scale: Tensor, shift: Tensor, pad: int, drawn: Tensor
) -> Tensor:
    """Augment (N, H, W, C) bytes by slices, fastest on a CPU; returns normalized float32 NHWC."""
    _, height, width, _ = pixels.shape
    padded = np.pad(pixels, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    cropped = np.empty_like(pixels)
    for image, (down, right, flip) in enumerate(drawn.T.tolist()):
        window = padded[image, down : down + height, right : right + width]
        cropped[image] = window[:, ::-1] if flip else window
    return torch.from_numpy(cropped).float().mul_(scale).add_(shift)
