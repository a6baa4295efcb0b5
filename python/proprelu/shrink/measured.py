"""What a network costs, and what it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from proprelu.data.augment import Augment
from proprelu.data.feeds import TrainFeed
from proprelu.data.normalization import Normalization
from proprelu.merge import MergeReport
from proprelu.merge.measured import medians, parameters_of
from proprelu.train import Trainer


@dataclass(frozen=True)
class Measured:
    """A network in numbers.

    Attributes:
        top1: the accuracy on the validation data, a fraction of 1; None without data.
        milliseconds: the median time of a forward of the example.
        macs: multiplications of convolutions for one image.
        parameters: the number of parameters.
    """

    top1: float | None
    milliseconds: float
    macs: int
    parameters: int


def measure(
    models: Sequence[fx.GraphModule], val: Any, feed: TrainFeed, example: object
) -> list[Measured]:
    """Measure merged networks.

    Args:
        models: the networks; they are timed in turn.
        val: data to measure accuracies; None to measure none.
        feed: what was trained with, whose normalization applies.
        example: the input that is timed.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    found = []
    for model, milliseconds in zip(models, medians(models, inputs), strict=True):
        assert isinstance(model.report, MergeReport)
        top1 = None if val is None else _top1(model, val, feed.normalization)
        macs, parameters = model.report.macs_after, parameters_of(model)
        found.append(Measured(top1, milliseconds, macs, parameters))
    return found


def _top1(model: nn.Module, val: Any, normalization: Normalization | None) -> float | None:
    """The accuracy on images that are normalized as in the training."""
    normalize: bool | Augment = False
    if normalization is not None:
        normalize = Augment(mean=normalization.mean, std=normalization.std)
    return Trainer(model, progress=False).evaluate(val, normalize=normalize)["top1"]
