"""A backend for ``torch.compile``: runs the core's kernels in any training loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch._aot_autograd.utils import make_boxed_func
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx import GraphModule

from proprelu._core import CompiledGraph, CudaDevice
from proprelu.cache import cuda_folder
from proprelu.graph.encode import CaptureError
from proprelu.graph.fallback import call_operation
from proprelu.graph.single import SingleGraph, encode_graph
from proprelu.train.recipe.kernels import Kernels, tune_file

__all__ = ["proprelu"]


def proprelu(module: GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
    """Compile a graph for ``torch.compile``, for training and inference, on CPU and CUDA.

    It is registered as ``torch.compile(model, backend="proprelu")``. Models in channels_last format
    profit from it, most of all under bfloat16 autocast. A graph is compiled for fixed shapes: with
    ``dynamic=False``, ``torch.compile`` makes one for each shape. A graph that the core cannot run,
    such as one with dynamic shapes or complex numbers, is run by torch after a warning. Second
    derivatives are refused with an error, as by every backend that is built on AOTAutograd.

    Args:
        module: the graph of the forward, from Dynamo.
        example_inputs: its inputs.

    Returns:
        The compiled graph.

    Example:
        >>> import torch, proprelu
        >>> model = proprelu.models.create("resnet20").to(memory_format=torch.channels_last)
        >>> compiled = torch.compile(model, backend="proprelu", dynamic=False)
        >>> compiled(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    # With cuDNN the trace would contain cuDNN's own batch norm, which the core cannot lower.
    with _without_cudnn():
        compiled: Callable[..., Any] = aot_autograd(
            fw_compiler=_compiled, bw_compiler=_compiled, keep_inference_input_mutations=True
        )(module, list(example_inputs))
    return compiled


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Turn cuDNN off inside the context.

    ``torch.backends.cudnn.flags`` reads its other switches too, which torch refuses for precisions
    that differ between convolutions and recurrent layers.
    """
    before = torch._C._get_cudnn_enabled()
    torch._C._set_cudnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_cudnn_enabled(before)


def _compiled(module: GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
    """Compile the graph of a forward or of a backward."""
    try:
        # torch compiles in a fake tensor mode, but constants and programs hold real tensors.
        with unset_fake_temporarily():
            graph = Graph(encode_graph(module), _device_type(example_inputs), module)
    except Exception as error:
        _left_to_torch(error)
        return make_boxed_func(module.forward)
    return make_boxed_func(graph)


def _left_to_torch(error: Exception) -> None:
    reason = " ".join(str(error).split()) or type(error).__name__
    warnings.warn(f"torch runs a graph that proprelu cannot: {reason}", stacklevel=3)


def _device_type(inputs: Sequence[Any]) -> str:
    # A scalar tensor may be on the CPU even if all others are on a GPU.
    types = {tensor.device.type for tensor in inputs if isinstance(tensor, Tensor) and tensor.dim()}
    if not types <= {"cpu"} and not types <= {"cuda"}:
        raise CaptureError(f"its inputs are on {', '.join(sorted(types))}")
    return next(iter(types), "cpu")


class Graph:
    """A compiled graph: called with the inputs, it returns the outputs.

    Args:
        graph: the encoded graph.
        device_type: ``"cpu"`` or ``"cuda"``, where all inputs are.
        module: the same graph in torch, which runs it where the core turns out to be unable to.
    """

    def __init__(self, graph: SingleGraph, device_type: str, module: GraphModule) -> None:
        self._graph = graph
        self._module = module
        self._works = True
        self._cuda = device_type == "cuda"
        # A program on a GPU is bound to one stream; the key is the stream's handle.
        self._programs: dict[int, CompiledGraph] = {}
        if not self._cuda:
            self._programs[0] = _program(graph, None)

    def __call__(self, *inputs: Tensor) -> list[Tensor | None]:
        if not self._works:
            return list(self._module(*inputs))
        tensors = (*inputs, *self._graph.constants)
        try:
            results = self._program()(tensors)
        except Exception as error:
            # No input has changed yet. If torch fails too, its error is the one of the model.
            outputs = list(self._module(*inputs))
            self._works = False
            _left_to_torch(error)
            return outputs
        return self._graph.collect(tensors, results)

    def _program(self) -> CompiledGraph:
        stream = torch.cuda.current_stream() if self._cuda else None
        handle = stream.cuda_stream if stream is not None else 0
        if handle not in self._programs:
            assert stream is not None
            device = CudaDevice(stream.device.index, handle, cuda_folder())
            self._programs[handle] = _program(self._graph, device)
        return self._programs[handle]


def _program(graph: SingleGraph, device: CudaDevice | None) -> CompiledGraph:
    kernels = Kernels()
    file = tune_file() if kernels.tunes and device is None else None
    return CompiledGraph(graph.graph, call_operation, tune_file=file, device=device)
