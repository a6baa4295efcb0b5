"""Which operations must find their operands in the strides of the trace."""

from typing import Any

import proprelu  # noqa: F401  registers operations
import pytest
import torch
from proprelu.graph.joint import capture_inference
from proprelu.graph.memory_order import reads_memory_order
from torch import Tensor, nn
from torch.nn import functional as F

aten = torch.ops.aten


@pytest.mark.parametrize(
    "operation",
    [
        aten.bernoulli.p,
        aten.rand_like.default,
        aten.as_strided.default,
        aten.view.dtype,
        aten._weight_norm_interface_backward.default,
        aten.linalg_lu_solve.default,
    ],
    ids=str,
)
def test_operations_that_read_memory(operation: Any) -> None:
    assert reads_memory_order(operation)


@pytest.mark.parametrize(
    "operation",
    [
        aten.convolution.default,
        aten.convolution_backward.default,
        aten._native_batch_norm_legit_functional.default,
        aten.native_batch_norm_backward.default,
        aten.threshold_backward.default,
        aten.add.Tensor,
        aten.view.default,
        aten.t.default,
        aten.detach.default,
        aten.max_pool2d_with_indices.default,
        aten.upsample_bilinear2d.default,
    ],
    ids=str,
)
def test_operations_of_any_order(operation: Any) -> None:
    assert not reads_memory_order(operation)


class Dropped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x.transpose(1, 2), 0.5, True)


def test_their_operands_are_encoded_with_strides() -> None:
    graph = capture_inference(Dropped(), torch.zeros(2, 3, 4)).graph
    (drawing,) = (call for call in graph["calls"] if call["draws"])
    assert drawing["args"][0]["strided"]["stride"] == [12, 1, 4]
    others = [call for call in graph["calls"] if not call["draws"]]
    assert not any("strided" in str(call["args"]) for call in others)
