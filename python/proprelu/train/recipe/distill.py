"""Knowledge distillation: a step that also learns from the predictions of a teacher."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from proprelu.checks import as_fraction, as_positive
from proprelu.graph.mode import kept_modes
from proprelu.graph.reading import Reading
from proprelu.graph.step import InferenceModule, StepModule

__all__ = ["Distill", "DistilledStep", "Lesson", "as_lesson"]


@dataclass(frozen=True)
class Distill:
    """The settings of a distillation: the temperature, and the weight of the teacher.

    A training with it minimizes ``(1 - weight) * loss + weight * temperature**2 * divergence``. The
    divergence is KL(teacher || student) between the softmax of both predictions, each divided by
    the temperature first, averaged over the batch. The square keeps the gradients of both parts in
    proportion at any temperature.

    Args:
        temperature: above 0; at a higher temperature small probabilities have more influence.
        weight: the weight of the teacher's part of the loss, 0 to 1.

    Raises:
        ValueError: settings out of range.

    Example:
        >>> import torch
        >>> loss, predictions = torch.tensor(2.0), torch.zeros(4, 10)
        >>> Distill(weight=0.25).mixed(loss, predictions, predictions).item()
        1.5

    Reference:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    """

    temperature: float = 4.0
    weight: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", as_positive("temperature", self.temperature))
        object.__setattr__(self, "weight", as_fraction("weight", self.weight))

    def mixed(self, loss: Tensor, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss to minimize.

        Args:
            loss: the loss on the labels, a scalar.
            predictions: those of the student, (N, num_classes) or (N, num_classes, ...), before
                softmax.
            targets: those of the teacher, of the same shape.

        Returns:
            A scalar.
        """
        student = F.log_softmax(predictions / self.temperature, dim=1)
        teacher = F.log_softmax(targets / self.temperature, dim=1)
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1).mean()
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * divergence


@dataclass(frozen=True)
class Lesson:
    """A teacher with the settings of the distillation."""

    teacher: nn.Module
    distill: Distill


class DistilledStep(StepModule):
    """Model, loss and teacher as one module, so that one trace contains all three.

    The teacher is a copy, in evaluation mode and without gradients, so the caller's is not changed.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        bf16: bool,
        lesson: Lesson,
        reading: Reading = Reading(),  # noqa: B008  frozen
    ) -> None:
        super().__init__(model, loss, bf16, reading)
        self.distill = lesson.distill
        self.teacher = InferenceModule(_frozen_copy(lesson.teacher), bf16)

    def learn(self, images: Tensor, *labels: Tensor) -> tuple[Tensor, Tensor]:
        # The teacher runs first: its activations are freed before the model's are stored.
        with torch.no_grad():
            (targets,) = self.teacher(images)
        loss, predictions = super().learn(images, *labels)
        return self.distill.mixed(loss, predictions, targets), predictions

    def check_outputs(self, images: Tensor) -> None:
        """Raise ``ValueError`` if the predictions differ in shape. Runs both on one image.

        Without this check the step would broadcast, or fail with an error of torch.
        """
        with torch.no_grad(), kept_modes(self.model):
            (predictions,) = InferenceModule(self.model.eval(), reading=self.reading)(images[:1])
            (targets,) = self.teacher(images[:1])
        ours, theirs = tuple(predictions.shape), tuple(targets.shape)
        if ours != theirs or len(ours) < 2:
            raise ValueError(
                f"the teacher must return (N, num_classes) like the model, {ours} for one image, "
                f"got {theirs}; build both with the same num_classes"
            )


def as_lesson(
    teacher: nn.Module | None, distill: Distill | None, model: nn.Module
) -> Lesson | None:
    """The lesson of a training; ``None`` without a teacher.

    Raises:
        TypeError: the teacher is not a module, or ``distill`` is not a ``Distill``.
        ValueError: ``distill`` without a teacher, or an unusable teacher.
    """
    if distill is not None and not isinstance(distill, Distill):
        raise TypeError(
            f"distill must be a Distill, got {type(distill).__name__}; "
            "pass Distill(temperature=4, weight=0.5)"
        )
    if teacher is None:
        if distill is not None:
            raise ValueError("teacher must be given with distill, got None; pass teacher=...")
        return None
    if not isinstance(teacher, nn.Module):
        raise TypeError(f"teacher must be an nn.Module, got {type(teacher).__name__}")
    _check_apart(teacher, model)
    _check_filled(teacher)
    return Lesson(teacher, distill or Distill())


def _check_apart(teacher: nn.Module, model: nn.Module) -> None:
    if teacher is model:
        raise ValueError(
            "teacher must be another module than the model, got the model itself; "
            "pass copy.deepcopy(model)"
        )
    trained = {id(parameter) for parameter in model.parameters()}
    for name, parameter in teacher.named_parameters():
        if id(parameter) in trained:
            raise ValueError(
                f"teacher must share no parameter with the model, got its {name}; "
                "pass a copy of the teacher that was created before the model"
            )


def _check_filled(teacher: nn.Module) -> None:
    for name, parameter in teacher.named_parameters():
        if is_lazy(parameter) or parameter.is_meta:
            raise ValueError(f"teacher must have weights, got none for {name}; load them first")


def _frozen_copy(teacher: nn.Module) -> nn.Module:
    """A copy in evaluation mode and float32, on the CPU, where graphs are traced."""
    try:
        frozen = copy.deepcopy(teacher)
    except Exception as error:
        raise ValueError(
            f"teacher must be a module that can be copied, got {type(error).__name__} from "
            "copy.deepcopy(teacher); remove what it stores beside its weights"
        ) from error
    return frozen.to("cpu", torch.float32).eval().requires_grad_(False)
