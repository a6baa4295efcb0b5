"""Operations of the package stay whole in ``torch.compile``, and are torch's own in an export."""

from collections.abc import Callable

import pytest
import torch
from proprelu.functional import channel_means, covariance_pool, scale_channels, tied_conv2d
from torch import Tensor, fx, nn

X, SCALE, WEIGHT = torch.randn(2, 4, 5, 5), torch.rand(2, 4), torch.randn(3, 2, 3, 3)
OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "channel_means": (channel_means, "proprelu"),
    "scale_channels": (lambda x: scale_channels(x, SCALE), "proprelu"),
    "covariance_pool": (covariance_pool, "proprelu"),
    # As a convolution of more images, without copies; with a repeated weight for any layout.
    "tied_conv2d": (lambda x: tied_conv2d(x, WEIGHT, num_blocks=2), "reshape"),
}


class Model(nn.Module):
    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x)


def _targets(graph: fx.Graph) -> str:
    return " ".join(str(node.target) for node in graph.nodes)


@pytest.mark.parametrize("name", OPERATIONS)
def test_compiled(name: str) -> None:
    operation, expected = OPERATIONS[name]
    graphs: list[str] = []

    def backend(module: fx.GraphModule, example_inputs: object) -> fx.GraphModule:
        graphs.append(_targets(module.graph))
        return module

    torch._dynamo.reset()
    compiled = torch.compile(Model(operation), backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(X), operation(X))
    assert expected in graphs[0]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_exported(name: str, strict: bool) -> None:
    operation, _ = OPERATIONS[name]
    torch._dynamo.reset()
    exported = torch.export.export(Model(operation), (X,), strict=strict)
    assert "proprelu" not in _targets(exported.graph)
    torch.testing.assert_close(exported.module()(X), operation(X))
