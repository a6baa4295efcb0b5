"""Loss functions."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from proprelu.checks import as_fraction
from proprelu.functional import cross_entropy

Loss = nn.Module | str

# The label that a cross-entropy ignores unless it is told otherwise.
_IGNORED = -100


class CrossEntropy(nn.Module):
    """Softmax cross-entropy, the mean over the batch.

    Args:
        label_smoothing: the fraction of each label that is spread over all classes, 0 to 1.

    Shape:
        predictions (N, num_classes), labels (N,) int64; returns a scalar.

    Example:
        >>> import torch
        >>> loss = CrossEntropy()(torch.zeros(4, 10), torch.zeros(4, dtype=torch.long))
        >>> round(loss.item(), 4)
        2.3026
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = as_fraction("label_smoothing", label_smoothing)

    def forward(self, predictions: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(predictions, labels, label_smoothing=self.label_smoothing)


class FusedCrossEntropy(CrossEntropy):
    """The same loss as one operation, for which programs on CUDA have a kernel."""

    def forward(self, predictions: Tensor, labels: Tensor) -> Tensor:
        if predictions.dim() != 2 or labels.dim() != 1:
            return super().forward(predictions, labels)
        return cross_entropy(predictions, labels, self.label_smoothing)


def as_loss(loss: Loss) -> nn.Module:
    """The loss as a module.

    Raises:
        ValueError: the loss is neither a module nor ``"cross_entropy"``.
    """
    if isinstance(loss, nn.Module):
        return loss
    if loss == "cross_entropy":
        return CrossEntropy()
    got = repr(loss) if isinstance(loss, str) else type(loss).__name__
    raise ValueError(f"loss must be 'cross_entropy' or an nn.Module, got {got}")


def label_smoothing_of(loss: nn.Module) -> float | None:
    """The label smoothing of a cross-entropy that the core can compute; ``None`` for others."""
    if type(loss) is CrossEntropy:
        return loss.label_smoothing
    if type(loss) is not nn.CrossEntropyLoss or loss.weight is not None:
        return None
    plain = loss.reduction == "mean" and loss.ignore_index == -100
    return loss.label_smoothing if plain else None


def reads_predictions(loss: nn.Module) -> bool:
    """Whether a loss takes the predictions, as all of torch do; others get the whole output."""
    return isinstance(loss, (_Loss, CrossEntropy))


def batch_weight(loss: nn.Module, labels: Any, images: int) -> float:
    """The weight of a batch's loss in the mean over several batches.

    For torch's losses that divide by the weights of the labels, and leave some out, it is the
    number that they divide by, so that the mean is that of one large batch. For all others it is
    the number of images.
    """
    if not isinstance(labels, Tensor) or labels.is_floating_point() or not _averages(loss):
        return float(images)
    ignored = getattr(loss, "ignore_index", _IGNORED)
    counted = labels[labels != ignored]
    weight = getattr(loss, "weight", None)
    return float(len(counted) if weight is None else weight[counted].sum())


def left_out(loss: nn.Module) -> list[int]:
    """The integer labels that a loss leaves out: its ``ignore_index``, and classes of weight 0."""
    indices = {_IGNORED, *(getattr(module, "ignore_index", None) for module in loss.modules())}
    labels = {int(index) for index in indices if isinstance(index, Integral)}
    # With smoothing an image of such a class still counts for the other classes.
    weighs = isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss))
    weight = loss.weight if weighs and not getattr(loss, "label_smoothing", 0.0) else None
    if isinstance(weight, Tensor):
        labels |= {label for label, value in enumerate(weight.tolist()) if value == 0}
    return sorted(labels)


def _averages(loss: nn.Module) -> bool:
    if type(loss) is CrossEntropy:
        return True
    return type(loss) in (nn.CrossEntropyLoss, nn.NLLLoss) and loss.reduction == "mean"


def check_targets(
    loss: nn.Module, predictions: Tensor, labels: Any, num_classes: int | None = None
) -> None:
    """Raise ``ValueError`` if a cross-entropy cannot compare the predictions with the labels.

    Args:
        loss: any loss; only of a cross-entropy is it known what it takes.
        predictions: (N, num_classes) or (N, num_classes, ...).
        labels: an example.
        num_classes: the classes of the data, where they specify it.
    """
    if not isinstance(loss, (CrossEntropy, nn.CrossEntropyLoss)):
        return
    outputs = predictions.shape[1] if predictions.ndim == 2 else num_classes
    plain = label_smoothing_of(loss) is not None
    if plain and num_classes and outputs and outputs < num_classes:
        raise ValueError(
            f"the data have {num_classes} classes and the model has {outputs} outputs; "
            f"build it with num_classes={num_classes}, or, if the largest label, "
            f"{num_classes - 1}, is to be ignored, pass "
            f"loss=nn.CrossEntropyLoss(ignore_index={num_classes - 1})"
        )
    got = f"for predictions {_per_image(predictions)}"
    if not isinstance(labels, Tensor):
        raise ValueError(
            f"a cross-entropy takes one tensor of labels, got a {type(labels).__name__} of "
            f"{len(labels)}; pass Trainer(loss=...) a module that takes them"
        )
    if predictions.ndim < 2:
        raise ValueError(
            "a cross-entropy takes predictions (N, num_classes), got "
            f"{_per_image(predictions)}; build the model with an output for each class, or pass "
            "Trainer(loss=...) another loss"
        )
    got = f"{_per_image(labels)} {got}"
    if labels.dtype == torch.int64:
        if labels.shape != predictions.shape[:1] + predictions.shape[2:]:
            raise ValueError(
                f"a cross-entropy takes one integer for each prediction, got labels {got}; choose "
                "the predictions with Trainer(output=...), reshape the labels, or pass another loss"
            )
    elif not _are_shares(loss, predictions, labels):
        raise ValueError(
            "a cross-entropy takes integer labels (N,), or probabilities (N, num_classes) that sum "
            f"to 1, got {str(labels.dtype).removeprefix('torch.')} {got}; pass Trainer(loss=...) "
            "nn.MSELoss() for numbers, or nn.BCEWithLogitsLoss() for several classes at once"
        )


def _are_shares(loss: nn.Module, predictions: Tensor, labels: Tensor) -> bool:
    """Whether labels may be class probabilities; torch's own loss takes sums other than 1."""
    if labels.shape != predictions.shape or labels.ndim < 2 or labels.shape[1] < 2:
        return False
    if labels.dtype == torch.bool:
        return False
    return not isinstance(loss, CrossEntropy) or bool(((labels.sum(1) - 1).abs() < 1e-3).all())


def _per_image(tensor: Tensor) -> str:
    return str(("N", *tensor.shape[1:])).replace("'", "")
