"""``shrink``: sensitivities, a plan within a budget, training, and merging."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from proprelu._core import Ratio
from proprelu.checks import as_count
from proprelu.convert import (
    Anneal,
    Plan,
    Ranking,
    convert,
    plan_for,
    remove_layers,
    sensitivity,
)
from proprelu.convert.budget import check_budget
from proprelu.data.augment import Augment
from proprelu.data.feeds import TrainFeed, train_feed, validation_feed
from proprelu.graph import check_changeable, copied
from proprelu.merge import MergeReport, merge
from proprelu.shrink.measured import measure
from proprelu.shrink.record import Record, fingerprint
from proprelu.shrink.result import Shrunk
from proprelu.train import SGD, Distill, Logger, Trainer
from proprelu.train.recipe.optimizers import Optimizer
from proprelu.train.recipe.schedules import Schedule

_CHECKPOINT = "checkpoint.safetensors"
# The part of the epochs in which the dropped activations turn linear.
_ANNEALED = 0.5


def shrink(
    model: nn.Module,
    train: Any,
    val: Any = None,
    *,
    budget: float,
    objective: str = "latency",
    ratio: str | None = None,
    layers: bool = True,
    example_input: object = None,
    epochs: int = 10,
    batch_size: int = 128,
    optimizer: Optimizer = SGD(lr=0.02, weight_decay=5e-4),  # noqa: B008  frozen
    schedule: Schedule = "one_cycle",
    augment: Augment | None = None,
    distill: Distill | None = None,
    precision: str = "fp32",
    calibration: int = 256,
    ranking: Ranking | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    loggers: Sequence[Logger] = (),
    progress: bool = True,
) -> Shrunk:
    """Make a trained network faster: drop activations and layers, train it further, and merge it.

    Measures which activations and layers the network can lose, and plans which have to go so that
    the merged network meets the budget. The layers are removed, the activations dropped gradually
    while the network trains on, and what has become linear is merged. The accuracies before and
    after are part of the result.

    Merging alone pays where small convolutions replace others, as in the inverted residuals of
    MobileNets. Two 3x3 convolutions are no slower than the 5x5 one that they become, so that a
    ResNet-18 becomes faster only by losing layers.

    Args:
        model: a trained network; it is not changed. Parameters that require no gradient stay as
            they are. If it is in training mode, so do the statistics of its parts in evaluation
            mode; see ``Trainer.fit``.
        train: images and labels of any kind that ``Trainer.fit`` takes.
        val: likewise, to measure accuracies; None to measure none.
        budget: the part of the original's cost that the result may have, between 0 and 1; see
            ``plan_for``.
        objective: what the budget limits: ``"latency"`` or ``"macs"``.
        ratio: no more activations are dropped than this ratio drops, such as ``"2:1"``; by default
            all may be.
        example_input: a batch as it will come in use, which is timed; by default one image.
        epochs: the epochs of training. In the first half the activations turn linear.
        batch_size: images in a step.
        optimizer: see ``Trainer``.
        schedule: see ``Trainer``.
        augment: augmentation of training images, and their normalization, which the training of
            ``model`` must have had too; see ``Trainer.fit``.
        distill: learn from the original as well; see ``Distill``.
        precision: of the training, see ``Trainer``.
        calibration: the number of training images by which sensitivities are measured.
        ranking: the sensitivities, if they are known already. Without costs of layers no layer is
            removed.
        seed: see ``Trainer``.
        folder: keeps the plan and a checkpoint; with the same folder and arguments a second call
            continues a run that was interrupted.
        loggers: see ``Trainer``.
        progress: whether to show progress bars.

    Returns:
        The merged network, the network it was merged from, and the numbers before and after.

    Raises:
        ValueError: see ``plan_for``, ``Trainer.fit`` and ``merge``; or the folder holds another
            run.
        TypeError: ``model`` is not a module, or ``ranking`` is not a ``Ranking``.
        OSError: the folder cannot be written.

    Example:
        >>> import proprelu
        >>> data = proprelu.datasets.fashion_mnist_small("test").subset(range(256))
        >>> blocks = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 32, 1), nn.ReLU()]
        >>> blocks += [nn.Conv2d(32, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        >>> net = nn.Sequential(*blocks, nn.Linear(8, 10))
        >>> small = shrink(net, data, budget=0.7, objective="macs", epochs=1, progress=False)
        >>> small.after.macs < 0.7 * small.before.macs
        True

    Reference:
        Depth compression by merging: Kim et al., arXiv 2301.12187; with layers removed as well:
        arXiv 2406.12837. The ranking by sensitivities and the annealing are ours.
    """
    # What is wrong should be said before anything is measured, which takes long.
    check_changeable(model, "shrink")
    objective, budget = check_budget(objective, budget)
    if ranking is not None and not isinstance(ranking, Ranking):
        raise TypeError(
            f"ranking must be the result of sensitivity() or learn_placement(), got {ranking!r}"
        )
    if isinstance(ratio, str):
        Ratio(ratio)  # raises an error for what is none
    epochs, batch_size = as_count("epochs", epochs), as_count("batch_size", batch_size)
    original = copied(model).eval()
    feed = _calibration(train, as_count("calibration", calibration), augment)
    if val is not None:
        validation_feed(val, feed)

    def trainer_of(network: nn.Module) -> Trainer:
        return Trainer(
            network,
            optimizer,
            schedule,
            teacher=None if distill is None else original,
            distill=distill,
            precision=precision,
            seed=seed,
            loggers=loggers,
            progress=progress,
        )

    trainer_of(copied(model))
    place = None if folder is None else Path(folder)
    asked = {
        "model": fingerprint(original), "budget": budget, "objective": objective, "ratio": ratio,
        "layers": layers, "calibration": calibration, "epochs": epochs, "batch_size": batch_size,
        "optimizer": optimizer, "schedule": schedule, "augment": augment, "distill": distill,
        "precision": precision, "seed": seed,
    }  # fmt: skip
    record = Record(place, asked)
    example = feed.images[:1] if example_input is None else example_input
    goal = {"budget": budget, "objective": objective, "example_input": example}
    plan = record.plan
    if plan is None:
        plan = _plan(original, feed, ranking, ratio, layers, goal, progress)
        record.note(plan)
    # A batch norm in training mode may need more than one image.
    several = feed.images[:2] if isinstance(example, Tensor) else example
    anneal = Anneal(_ANNEALED * epochs) if plan.dropped else None
    converted = convert(model, "1:1", plan.keep, several, anneal=anneal)
    if plan.removed:
        remove_layers(converted, plan.removed, several, inplace=True)
    if not converted.training:  # otherwise parts in evaluation mode are frozen
        converted.train()
    checkpoint = None if place is None else place / _CHECKPOINT
    history = trainer_of(converted).fit(
        train,
        val,
        epochs=epochs,
        batch_size=batch_size,
        augment=augment,
        checkpoint=checkpoint,
        resume=checkpoint if checkpoint is not None and checkpoint.exists() else None,
    )
    converted.eval()
    merged = merge(converted, example, cost=objective)
    whole = merge(original, example, cost=objective)
    before, after = measure([whole, merged], val, feed, example)
    assert isinstance(merged.report, MergeReport)
    return Shrunk(merged, converted, plan, merged.report, history, before, after)


def _calibration(train: Any, count: int, augment: Augment | None) -> TrainFeed:
    """A batch of training images, normalized as in the training."""
    if isinstance(augment, Augment):
        augment = Augment(mean=augment.mean, std=augment.std)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "each epoch leaves out")  # only one batch is read
        return train_feed(train, count, augment)


def _plan(
    original: nn.Module,
    feed: TrainFeed,
    ranking: Ranking | None,
    ratio: str | None,
    layers: bool,
    goal: dict[str, Any],
    progress: bool,
) -> Plan:
    """The plan within the budget."""
    example = goal["example_input"]
    sites = [site.name for site in plan_for(original, "1:1", example_input=example).sites]
    if ranking is None:
        data = _batch(feed)
        ranking = sensitivity(
            original, data, layers=layers, example_input=example, progress=progress
        )
    elif not layers:
        ranking = replace(ranking, layers=(), layer_costs=())
    return plan_for(original, ratio or f"{len(sites)}:1", ranking, **goal)


def _batch(feed: TrainFeed) -> Tensor | tuple[Tensor, Tensor]:
    """Images with their labels, if these are the numbers of classes."""
    labels = feed.labels
    if isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point():
        return feed.images, labels
    return feed.images
