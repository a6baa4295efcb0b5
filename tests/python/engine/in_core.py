"""Runs a function and its gradients in the core, for tests of single operations."""

from collections.abc import Callable

import torch
from proprelu._core import CompiledGraph
from proprelu.graph.fallback import call_operation
from proprelu.graph.single import encode_graph
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[..., Tensor]


def with_gradients(function: Function) -> Callable[..., tuple[Tensor, ...]]:
    """The result of a function, and the gradients of its inputs for that of the result."""

    def run(grad_y: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        leaves = [x.detach().requires_grad_() for x in inputs]
        y = function(*leaves)
        return (y.detach(), *torch.autograd.grad(y, leaves, grad_y))

    return run


def in_core(
    function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
) -> tuple[list[Tensor | None], str]:
    """The results of a function, computed by the core, and the program as text."""
    graph = encode_graph(make_fx(function)(*inputs))
    program = CompiledGraph(graph.graph, call_operation)
    tensors = (*inputs, *graph.constants)
    return graph.collect(tensors, program(tensors)), program.listing()


def check(function: Function, grad_y: Tensor, *inputs: Tensor, unit: float = 1e-5) -> str:
    """Compare with plain PyTorch in float64; ``unit`` is the error relative to the largest element.

    Returns:
        The program as text.
    """
    results, listing = in_core(with_gradients(function), grad_y, *inputs)
    exact = [x.double() for x in (grad_y, *inputs)]
    plain = with_gradients(function)(*exact)
    for result, expected, like in zip(results, plain, (grad_y, *inputs), strict=True):
        assert result is not None
        assert result.dtype == like.dtype
        assert result.shape == expected.shape
        limit = unit * max(expected.abs().max().item(), 1e-3)
        torch.testing.assert_close(result.double(), expected, rtol=0, atol=limit)
    return listing
