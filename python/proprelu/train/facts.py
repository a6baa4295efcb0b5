"""What a checkpoint records about its training, and whether a resumed training fits to it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from proprelu import _core
from proprelu._core import Dataset
from proprelu.data.augment import Augment
from proprelu.data.feeds import TrainFeed
from proprelu.data.torch_batches import TorchBatches
from proprelu.train.described import described_lesson, described_loss
from proprelu.train.recipe.distill import Lesson
from proprelu.train.recipe.optimizers import distinct, parameter_settings
from proprelu.train.recipe.schedules import depends_on_length, schedule_settings
from proprelu.train.settings import Settings
from proprelu.train.state import named_parameters
from proprelu.warned import warn
from proprelu.weights.record import record_of

__all__ = ["COMPARED", "check_override", "check_resumed", "facts_of", "spanned"]

# What a resumed training must have in common with the one that it continues.
COMPARED = (
    "plan",
    "data",
    "batch_size",
    "steps_per_epoch",
    "augment",
    "precision",
    "optimizer",
    "schedule",
    "clip_grad_norm",
    "loss",
    "teacher",
    "ema",
    "seed",
)

# The images of which a fingerprint is taken.
_SAMPLE = 16


def facts_of(
    settings: Settings,
    feed: TrainFeed,
    augment: Augment | None,
    *,
    ema: Mapping[str, Any] | None,
    lesson: Lesson | None,
) -> dict[str, Any]:
    """What a checkpoint records about a training."""
    record = record_of(settings.model)
    named = list(named_parameters(settings.model, settings.loss))
    return {
        "plan": None if record is None else record.to_dict(),
        "data": fingerprint(feed),
        "batch_size": len(feed.images),
        "steps_per_epoch": len(feed.batches),
        "augment": (augment or Augment()).to_dict(),
        "precision": "bf16" if settings.bf16 else "fp32",
        "optimizer": distinct(parameter_settings(settings.optimizer, named).values()),
        "schedule": schedule_settings(settings.schedule),
        "clip_grad_norm": settings.clip_grad_norm,
        "loss": described_loss(settings.loss),
        "teacher": described_lesson(lesson),
        "ema": ema,
        "seed": settings.seed,
        "versions": versions(),
    }


def check_override(override: Collection[str]) -> frozenset[str]:
    """The names of what may differ.

    Raises:
        TypeError: no names.
        ValueError: an unknown name.
    """
    known = ", ".join(COMPARED)
    if not isinstance(override, Collection):
        raise TypeError(f"override must be names among {known}, or (), got {override!r}")
    names = [override] if isinstance(override, str) else list(override)
    for name in names:
        if name not in COMPARED:
            raise ValueError(f"override must be names among {known}, got {name!r}")
    return frozenset(names)


def check_resumed(
    path: str | os.PathLike[str],
    recorded: Mapping[str, Any],
    own: Mapping[str, Any],
    override: Collection[str],
) -> None:
    """Compare what a checkpoint records with the training that is to continue it.

    Raises:
        ValueError: something differs that ``override`` does not name.
    """
    # The number of steps follows from these.
    follows = {"steps_per_epoch"} if {"data", "batch_size"} & set(override) else set()
    for name in COMPARED:
        if name in override or name in follows or name not in recorded:
            continue
        # As both look in JSON, where a tuple is a list.
        found, expected = (json.loads(json.dumps(facts[name])) for facts in (recorded, own))
        if found != expected:
            raise ValueError(
                f"checkpoint {path} is of a training with another {name}: "
                f"{_difference(found, expected)}; use the same as there"
                + _way_out(name, found, expected)
            )


def _way_out(name: str, found: Any, expected: Any) -> str:
    """How to allow a difference, unless the state in the checkpoint is of another form then."""
    if name == "ema" and None in (found, expected):
        return ""
    kept = ", if the optimizer keeps the same state" if name == "optimizer" else ""
    return f', or allow the change with override=("{name}",){kept}'


def spanned(
    recorded: Mapping[str, Any],
    begin: int,
    epochs: int,
    asked: int | None,
    schedule: Mapping[str, Any],
) -> tuple[int, int]:
    """The epochs that the schedule spans, counted from the first of all trainings.

    A schedule belongs to a training: one that is resumed keeps its curve, as long as it reaches
    to the end. Otherwise a longer one takes its place, with a warning if that changes the rate.

    Args:
        recorded: what the checkpoint records; empty if there is none.
        begin: the epochs that are finished.
        epochs: the epoch with which the training ends.
        asked: the epochs of the whole curve, if the caller has set them.
        schedule: the schedule's settings.

    Raises:
        ValueError: the curve is shorter than the training.
    """
    begin, planned = recorded.get("schedule_epochs", (begin, None))
    if asked is not None:
        end = begin + asked
        if end < epochs:
            raise ValueError(
                f"schedule_epochs must be at least the epochs of the training, {epochs - begin}, "
                f"got {asked}"
            )
    else:
        end = max(epochs, planned or 0)
    if planned not in (None, end) and depends_on_length(schedule):
        warn(
            f"the schedule of the checkpoint was planned for {planned} epochs and is continued "
            f"as one of {end}, so the learning rate jumps to another curve; to plan ahead, pass "
            f"schedule_epochs={end} to the first fit too"
        )
    return begin, end


def fingerprint(feed: TrainFeed) -> dict[str, Any]:
    """What identifies the data of a training, as far as it is quickly found."""
    found: dict[str, Any] = {
        "images": _count(feed.dataset),
        "shape": list(feed.images.shape[1:]),
        "classes": feed.num_classes,
    }
    if isinstance(feed.dataset, Dataset):
        count = len(feed.dataset)
        chosen = np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int).tolist()
        digest = hashlib.sha256(np.ascontiguousarray(feed.dataset.labels()).tobytes())
        digest.update(np.ascontiguousarray(feed.dataset.subset(chosen).images()).tobytes())
        found["sample"] = digest.hexdigest()[:16]
    return found


def _count(dataset: object) -> int | None:
    """The number of images, where the data have one."""
    try:
        return len(dataset.loader.dataset if isinstance(dataset, TorchBatches) else dataset)  # type: ignore[arg-type]
    except TypeError:
        return None


def versions() -> dict[str, str]:
    """The versions that results may depend on."""
    return {"proprelu": _core.__version__, "torch": torch.__version__}


def _difference(found: Any, expected: Any) -> str:
    """The first entry that differs, if both have entries."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in (*expected, *(key for key in found if key not in expected)):
            if found.get(key) != expected.get(key):
                return f"{key} was {_short(found.get(key))}, is {_short(expected.get(key))}"
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for one, other in zip(found, expected, strict=True):
            if one != other and isinstance(one, dict):
                return _difference(one, other)
    return f"it was {_short(found)}, is {_short(expected)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
