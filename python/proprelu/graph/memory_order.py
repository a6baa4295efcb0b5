"""Which operations of torch have to find their operands in the strides of the trace.

The core keeps images in the order that its kernels like, whatever the strides of the trace. Most
operations compute the same from any order. The others would compute other numbers in silence:

- random numbers are drawn in the order of memory,
- ``as_strided`` and views as another dtype count in it,
- an operation that is not torch's may read memory as it likes,
- and so may those of torch that are only called by functions which order the memory before, such as
  the backward of a weight norm.

The last are not listed anywhere, so the others are: an operation is taken to be indifferent if it
is pointwise, a view, one of torch's core operations, or named here.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["reads_memory_order"]

_VIEWS_OF_MEMORY = {
    "aten::as_strided",
    "aten::as_strided_copy",
    "aten::as_strided_scatter",
    "aten::view.dtype",
    "aten::view_as_complex",
}

# Neither core nor pointwise by torch's tags, but written for any strides.
_INDIFFERENT = {
    "_log_softmax_backward_data",
    "_native_batch_norm_legit_functional",
    "_prelu_kernel",
    "_prelu_kernel_backward",
    "_softmax_backward_data",
    "_unsafe_view",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
    "baddbmm",
    "channel_shuffle",
    "elu_backward",
    "empty_like",
    "hardsigmoid_backward",
    "hardswish_backward",
    "hardtanh_backward",
    "leaky_relu_backward",
    "linalg_vector_norm",
    "logsumexp",
    "native_batch_norm",
    "native_batch_norm_backward",
    "new_zeros",
    "nll_loss2d_backward",
    "nll_loss2d_forward",
    "nll_loss_backward",
    "nll_loss_forward",
    "ones_like",
    "pixel_shuffle",
    "pixel_unshuffle",
    "roll",
    "select_backward",
    "slice_backward",
    "sum",
    "upsample_bilinear2d",
    "upsample_bilinear2d_backward",
    "upsample_nearest2d",
    "upsample_nearest2d_backward",
    "var_mean",
    "zeros_like",
}


def reads_memory_order(operation: Any) -> bool:
    """Whether the results of an operation may depend on the strides of its operands.

    Args:
        operation: any operation, such as ``torch.ops.aten.bernoulli.p``.

    Returns:
        Whether the core must pass tensors in the strides of the trace.
    """
    if operation.namespace == "proprelu":
        return False
    if operation.namespace not in ("aten", "prims"):
        return True
    draws = torch.Tag.nondeterministic_seeded in operation.tags
    schema = operation._schema
    if draws or ".".join(filter(None, (schema.name, schema.overload_name))) in _VIEWS_OF_MEMORY:
        return True
    general = torch.Tag.core in operation.tags or torch.Tag.pointwise in operation.tags
    name = schema.name.partition("::")[2]
    return not (general or operation.is_view or name in _INDIFFERENT)
