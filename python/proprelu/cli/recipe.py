"""What the settings of a training mean to a ``Trainer``."""

from __future__ import annotations

from proprelu.cli.settings import TrainingSettings
from proprelu.train import SGD, AdamW, CrossEntropy, Step

__all__ = ["loss_of", "optimizer_of", "schedule_of"]


def optimizer_of(settings: TrainingSettings) -> SGD | AdamW:
    """The optimizer."""
    if settings.optimizer == "sgd":
        return SGD(lr=settings.base_lr, momentum=0.9, weight_decay=settings.weight_decay)
    return AdamW(lr=settings.base_lr, weight_decay=settings.weight_decay)


def schedule_of(settings: TrainingSettings, epochs: int) -> Step | str:
    """The schedule over a number of epochs; by steps, the rate is divided by 10 at each third."""
    return Step(step_size=-(-epochs // 3)) if settings.schedule == "step" else settings.schedule


def loss_of(settings: TrainingSettings) -> CrossEntropy:
    """The loss."""
    return CrossEntropy(label_smoothing=settings.label_smoothing)
