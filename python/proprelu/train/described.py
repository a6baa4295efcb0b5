"""A loss and a teacher as plain values, by which a resumed training is compared."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from proprelu.train.recipe.distill import Lesson
from proprelu.train.recipe.losses import label_smoothing_of

__all__ = ["described_lesson", "described_loss"]


def described_loss(loss: nn.Module) -> dict[str, Any]:
    """The classes of a loss and its parts, with their attributes that are plain values.

    What a forward computes cannot be compared, nor attributes that are other objects.
    """
    smoothing = label_smoothing_of(loss)
    if smoothing is not None:  # the same loss under two names
        return {"class": "CrossEntropy", "label_smoothing": smoothing}
    found: dict[str, Any] = {}
    for path, module in loss.named_modules():
        start = f"{path}." if path else ""
        found[f"{start}class"] = type(module).__qualname__
        found |= {f"{start}{name}": value for name, value in _settings(module).items()}
    return found


def described_lesson(lesson: Lesson | None) -> dict[str, Any] | None:
    """The class and the size of a teacher, and how it is learned from."""
    if lesson is None:
        return None
    count = sum(parameter.numel() for parameter in lesson.teacher.parameters())
    kind = type(lesson.teacher).__qualname__
    return {"class": kind, "parameters": count, **asdict(lesson.distill)}


def _settings(module: nn.Module) -> dict[str, Any]:
    own = {
        name: _plain(value)
        for name, value in vars(module).items()
        if isinstance(value, (bool, int, float, str, type(None)))
        and not name.startswith("_")
        and name != "training"
    }
    if isinstance(module, _Loss):  # whose buffers are settings: the weights of the classes
        own |= {name: _digest(buffer) for name, buffer in module.named_buffers(recurse=False)}
    return own


def _plain(value: Any) -> Any:
    """The value; as a text if JSON has no number for it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _digest(tensor: Tensor) -> str:
    numbers = tensor.detach().cpu().double().contiguous().numpy()
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]
