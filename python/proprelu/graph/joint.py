"""Captures a training step, or an inference, as one graph of ATen operations.

AOTAutograd traces the model together with the loss into a *joint* graph: forward, backward and the
new values of the buffers. PyTorch itself supplies the derivatives, so every model that it can trace
can be trained. The graph is returned as plain data for the core, which lowers and runs it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch.aot_autograd import aot_export_module
from torch._subclasses.fake_tensor import FakeTensorMode

from proprelu.graph.encode import CaptureError, Encoder
from proprelu.graph.mode import untouched
from proprelu.graph.reading import OutputStructure, Reading
from proprelu.graph.step import InferenceModule, StepModule

__all__ = ["Capture", "CaptureError", "capture_inference", "capture_step"]

_MODEL = "model."
_LOSS = "loss."


@dataclass(frozen=True)
class Capture:
    """A captured graph.

    Attributes:
        graph: the graph as plain data, in the format that the core reads.
        constants: tensors that are bound once, when the graph is loaded, by input name.
        predictions: the shape of the predictions, (N, num_classes) for a classifier.
        structure: how the whole output is put together from the graph's results, if it has any.
    """

    graph: dict[str, Any]
    constants: dict[str, Tensor]
    predictions: tuple[int, ...]
    structure: OutputStructure | None = None


def capture_step(step: StepModule, images: Tensor, *labels: Tensor) -> Capture:
    """Capture forward, loss and backward of one batch.

    Args:
        step: the model with its loss; the model is in training mode.
        images: (N, C, H, W), an example; the graph is valid for this shape only.
        labels: the labels that the loss accepts, one tensor or several.

    Returns:
        The joint graph.

    Raises:
        CaptureError: the step cannot be traced; the message says why.
    """
    batch = (images, *labels)
    with _tracing(step) as lifted, _without_unreached(step, batch):
        module, signature = aot_export_module(step, batch, trace_joint=True, output_loss_index=0)
        return _encode(module, signature, "step", lifted)


def capture_inference(
    model: nn.Module,
    images: Tensor,
    *,
    bf16: bool = False,
    reading: Reading | None = None,
    whole: bool = False,
) -> Capture:
    """Capture the forward of a model in evaluation mode.

    Args:
        model: the model, in evaluation mode.
        images: (N, C, H, W), an example; the graph is valid for this shape only.
        bf16: run the model under ``torch.autocast`` in bfloat16.
        reading: which part of the output the predictions are.
        whole: whether the graph returns the whole output after the predictions, if it is more than
            one tensor.

    Returns:
        The graph of the forward.

    Raises:
        CaptureError: the model cannot be traced; the message says why.
    """
    structure = OutputStructure() if whole else None
    inference = InferenceModule(model, bf16, reading or Reading(), structure)
    with _tracing(inference) as lifted, torch.no_grad():
        module, signature = aot_export_module(inference, (images,), trace_joint=False)
        capture = _encode(module, signature, "inference", lifted)
    has_results = bool(capture.graph["outputs"]["results"])
    return replace(capture, structure=structure if has_results else None)


@contextlib.contextmanager
def _tracing(step: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Turn any error of a trace into a ``CaptureError`` of one line, and restore the modules.

    Yields:
        The tensors that become constants of the graph, by name.
    """
    _check_no_ties(step)
    try:
        with untouched(step):
            yield _lifted(step)
    except CaptureError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        raise CaptureError(f"{type(error).__name__}: {lines[0]}") from error


def _lifted(step: nn.Module) -> dict[str, Tensor]:
    """The tensors that become constants of the graph, by name.

    These are tensors that a module holds as plain attributes, which are registered as buffers here,
    and all tensors of a part of the step that is neither the model nor the loss, because such a
    part (a teacher) is not trained.
    """
    lifted = {}
    for path, module in step.named_modules():
        for key, value in list(module.__dict__.items()):
            if isinstance(value, Tensor) and not value.requires_grad:
                del module.__dict__[key]
                module._buffers[key] = value
                lifted[f"{path}.{key}"] = value
    for name, tensor in (*step.named_parameters(), *step.named_buffers()):
        if not name.startswith((_MODEL, _LOSS)):
            lifted[name] = tensor
    return lifted


def _check_no_ties(step: nn.Module) -> None:
    names: dict[int, str] = {}
    tensors = (
        *step.named_parameters(remove_duplicate=False),
        *step.named_buffers(remove_duplicate=False),
    )
    for name, tensor in tensors:
        name = name.removeprefix(_MODEL)
        if id(tensor) in names:
            raise CaptureError(f"{names[id(tensor)]} and {name} are one tensor")
        names[id(tensor)] = name


@contextlib.contextmanager
def _without_unreached(step: StepModule, batch: tuple[Tensor, ...]) -> Iterator[None]:
    """Exclude parameters that the loss does not depend on while the step is traced.

    AOTAutograd requires a gradient for each parameter. A run on fake tensors, which have shapes but
    no data, determines which parameters get one.
    """
    unreached = _unreached(step, batch)
    for parameter in unreached:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in unreached:
            parameter.requires_grad_(True)


def _unreached(step: StepModule, batch: tuple[Tensor, ...]) -> list[nn.Parameter]:
    trained = {name: p for name, p in step.named_parameters() if p.requires_grad}
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        state = {
            name: mode.from_tensor(tensor).detach().requires_grad_(name in trained)
            for name, tensor in (*step.named_parameters(), *step.named_buffers())
        }
        fake = tuple(map(mode.from_tensor, batch))
        loss, _ = torch.func.functional_call(step, state, fake)
        if not loss.requires_grad:
            raise CaptureError("the loss depends on no parameter that requires a gradient")
        wanted = [state[name] for name in trained]
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    pairs = zip(trained.values(), gradients, strict=True)
    return [parameter for parameter, gradient in pairs if gradient is None]


def _encode(module: Any, signature: Any, prefix: str, lifted: dict[str, Tensor]) -> Capture:
    encoder = Encoder(module, prefix)
    parameters, buffers = signature.inputs_to_parameters, signature.inputs_to_buffers
    for node in module.graph.nodes:
        if node.op == "placeholder":
            name = parameters.get(node.name) or buffers.get(node.name)
            if name is None:
                encoder.add_input(node, node.name, "batch")
            elif name in lifted:
                encoder.add_constant_input(node, name, lifted[name])
            else:
                role = "parameter" if node.name in parameters else "buffer"
                encoder.add_input(node, name.removeprefix(_MODEL), role)
        elif node.op != "output":
            encoder.add_node(node)
    changed = next((n for n in signature.buffers_to_mutate.values() if n in lifted), None)
    if changed is not None:
        raise CaptureError(
            f"{changed.removeprefix(_MODEL)} is changed by the forward but is not a buffer of the "
            "model; register it with register_buffer"
        )
    outputs = _outputs(encoder, module, signature)
    graph = encoder.finish(outputs)
    predictions = tuple(graph["values"][outputs["predictions"]]["shape"])
    return Capture(graph, encoder.constants, predictions)


def _outputs(encoder: Encoder, module: torch.fx.GraphModule, signature: Any) -> dict[str, Any]:
    (returned,) = next(iter(module.graph.find_nodes(op="output"))).args
    by_name = {node.name: node for node in returned if node is not None}
    backward = signature.backward_signature
    # Where buffers change, `backward.loss_output` names a wrong output; `user_outputs` is in order.
    values = [encoder.value(by_name[name]) for name in signature.user_outputs]
    loss = values.pop(0) if backward else None
    predictions, *results = values

    def named(names: dict[str, str]) -> list[tuple[str, int]]:
        return [
            (name.removeprefix(_MODEL), encoder.value(by_name[node]))
            for node, name in names.items()
        ]

    return {
        "loss": loss,
        "predictions": predictions,
        "results": results,
        "gradients": named(backward.gradients_to_parameters if backward else {}),
        "buffers": named(signature.buffers_to_mutate),
    }
