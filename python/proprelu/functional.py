"""Operations that a captured program knows as one, registered with torch.

Called by themselves they are computed by torch's operations, on any device; in a program for CUDA
each is a kernel of ours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["cross_entropy"]

_IGNORED = -100


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Softmax cross-entropy, the mean over the batch; its gradient is computed along with it.

    The mathematics of `torch.nn.functional.cross_entropy`; labels of -100 count nowhere.

    Args:
        logits: (N, num_classes), float32 or bfloat16.
        labels: (N,) int64.
        label_smoothing: the share of each label that is spread over all classes, 0 to 1.

    Returns:
        A float32 scalar.

    Example:
        >>> import torch
        >>> logits = torch.zeros(4, 10, requires_grad=True)
        >>> loss = cross_entropy(logits, torch.zeros(4, dtype=torch.long))
        >>> loss.backward()
        >>> round(loss.item(), 4), round(logits.grad[0, 0].item(), 4)
        (2.3026, -0.225)
    """
    loss, _ = torch.ops.proprelu.cross_entropy(logits, labels, label_smoothing)
    return loss  # type: ignore[no-any-return]


@torch.library.custom_op("proprelu::cross_entropy", mutates_args=())
def _cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient."""
    scores = logits.float()
    loss = F.cross_entropy(scores, labels, label_smoothing=label_smoothing)
    counts = labels != _IGNORED
    wanted = F.one_hot(labels.where(counts, 0), scores.shape[1]) * (1 - label_smoothing)
    wanted = wanted + label_smoothing / scores.shape[1]
    grad = (scores.softmax(1) - wanted) * counts[:, None] / counts.sum()
    return loss, grad.to(logits.dtype)


@_cross_entropy.register_fake
def _(logits: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    return logits.new_empty((), dtype=torch.float32), torch.empty_like(logits)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, grad = output
    ctx.save_for_backward(grad)
    ctx.mark_non_differentiable(grad)


def _backward(ctx: Any, grad_loss: Tensor, _: Tensor | None) -> tuple[Tensor, None, None]:
    (grad,) = ctx.saved_tensors
    return grad_loss * grad, None, None


_cross_entropy.register_autograd(_backward, setup_context=_keep)
