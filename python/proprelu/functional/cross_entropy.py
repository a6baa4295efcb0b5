"""Cross-entropy and its gradient as one operation, registered with torch.

On a GPU one of the core's kernels computes both, inside a program or called on its own. On a CPU
torch's operations do.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from proprelu._core import CompiledGraph, CudaDevice
from proprelu.cache import cuda_folder

_IGNORED = -100


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Softmax cross-entropy, averaged over the batch, with its gradient computed in the same pass.

    It equals ``torch.nn.functional.cross_entropy``; labels of -100 are ignored.

    Args:
        logits: (N, num_classes), float32 or bfloat16.
        labels: (N,) int64.
        label_smoothing: the part of each label that is spread over all classes, 0 to 1.

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
    """The loss, and its gradient with respect to the logits."""
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    return loss, _gradient(logits, labels, label_smoothing)


def _gradient(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    classes = logits.shape[1]
    counts = labels != _IGNORED
    target = F.one_hot(labels.where(counts, 0), classes) * (1 - label_smoothing)
    grad = logits.float().softmax(1) - target - label_smoothing / classes
    return (grad * counts[:, None] / counts.sum()).to(logits.dtype)


@_cross_entropy.register_kernel("cuda")
def _cross_entropy_on_cuda(
    logits: Tensor, labels: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    stream = torch.cuda.current_stream(logits.device)
    device = _device(logits.device.index, stream.cuda_stream)
    program = cross_entropy_program(device, logits.shape, logits.dtype, label_smoothing)
    loss, grad = program((logits, labels))
    return loss, grad


@lru_cache(maxsize=16)
def _device(index: int, stream: int) -> CudaDevice:
    return CudaDevice(index, stream, cuda_folder())


@lru_cache(maxsize=64)
def cross_entropy_program(
    device: CudaDevice, shape: torch.Size, dtype: torch.dtype, label_smoothing: float
) -> CompiledGraph:
    """Compile a program of this one operation, from logits and labels to loss and gradient."""
    name = str(dtype).removeprefix("torch.")
    shapes = [(shape, name), (shape[:1], "int64"), ((), "float32"), (shape, name)]
    values = [{"shape": [*s], "dtype": d, "channels_last": False} for s, d in shapes]
    call = {
        "name": "proprelu::cross_entropy",
        "overload": "",
        "args": [{"tensor": 0}, {"tensor": 1}, {"float": label_smoothing}],
        "outputs": [2, 3],
    }
    inputs = [{"name": str(i), "role": "batch", "value": i} for i in range(2)]
    nothing = {"loss": None, "predictions": None, "gradients": (), "buffers": ()}
    outputs = {**nothing, "results": [2, 3]}
    graph = {"values": values, "inputs": inputs, "calls": [call], "outputs": outputs}
    return CompiledGraph(graph, _no_fallback, device=device)


def _no_fallback(*call: Any) -> list[Tensor]:
    raise RuntimeError(f"{call[0]} is not an operation of this program")


@_cross_entropy.register_fake
def _(logits: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    return logits.new_empty((), dtype=torch.float32), torch.empty_like(logits)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits, labels, ctx.label_smoothing = inputs
    _, grad = output
    ctx.save_for_backward(logits, labels, grad)
    ctx.mark_non_differentiable(grad)


def _backward(ctx: Any, grad_loss: Tensor, _: Tensor | None) -> tuple[Tensor, None, None]:
    logits, labels, grad = ctx.saved_tensors
    if torch.is_grad_enabled():
        # Under create_graph=True the gradient must be differentiable itself.
        grad = _gradient(logits, labels, ctx.label_smoothing)
    return grad_loss * grad, None, None


_cross_entropy.register_autograd(_backward, setup_context=_save)
