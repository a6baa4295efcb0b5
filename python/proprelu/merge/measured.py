"""What a network takes."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import nn

# How often networks run in turn to be timed, unless that takes longer than some seconds.
_ROUNDS, _SECONDS = 30, 5.0


def parameters_of(model: nn.Module) -> int:
    """The number of parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def medians(models: Sequence[nn.Module], inputs: tuple[object, ...]) -> list[float]:
    """The median milliseconds of forwards; models take turns, so that all are disturbed alike."""
    times: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for model in models:
            model(*inputs)
        begin = time.perf_counter()
        for _ in range(_ROUNDS):
            for model, found in zip(models, times, strict=True):
                start = time.perf_counter()
                model(*inputs)
                found.append(time.perf_counter() - start)
            if time.perf_counter() - begin > _SECONDS:
                break
    return [1e3 * sorted(found)[len(found) // 2] for found in times]
