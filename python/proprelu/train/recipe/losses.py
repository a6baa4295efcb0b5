"""Loss functions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from proprelu.functional import cross_entropy

Loss = nn.Module | str


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
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be in 0 to 1, got {label_smoothing}")
        self.label_smoothing = label_smoothing

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
