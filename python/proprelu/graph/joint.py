"""Captures a training step, or an inference, as one graph of ATen operations.

AOTAutograd traces the model together with the loss into a *joint* graph: forward, backward and the
new values of the buffers. PyTorch itself supplies the derivatives, so every model that it can trace
can be trained. The graph is returned as plain data for the core, which lowers and runs it.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch.aot_autograd import aot_export_module

from proprelu.graph.encode import CaptureError, Encoder
from proprelu.graph.flat import Flat
from proprelu.graph.mode import untouched
from proprelu.graph.reading import OutputStructure, Reading
from proprelu.graph.rehearse import rehearse
from proprelu.graph.step import InferenceModule, StepModule
from proprelu.graph.surroundings import Surroundings
from proprelu.graph.where import explained

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
        reads_layout: the line of the forward that reads the order of a tensor's memory, if any.
    """

    graph: dict[str, Any]
    constants: dict[str, Tensor]
    predictions: tuple[int, ...]
    structure: OutputStructure | None = None
    reads_layout: str | None = None


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
    with _tracing(step):
        rehearsed = rehearse(step, batch, training=True)
        lifted = _lifted(step)
        with _frozen(step, rehearsed.unreached):
            flat = Flat(step, forgetful=True, constants=lifted)
            module, signature = aot_export_module(
                flat, batch, trace_joint=True, output_loss_index=0
            )
        capture = _encode(module, signature, flat, "step", lifted)
    rehearsed.put_plain_values()
    return replace(capture, reads_layout=rehearsed.reads_layout)


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
    with _tracing(inference), torch.no_grad():
        rehearsed = rehearse(inference, (images,), training=False)
        lifted = _lifted(inference)
        flat = Flat(inference, forgetful=True, constants=lifted)
        module, signature = aot_export_module(flat, (images,), trace_joint=False)
        capture = _encode(module, signature, flat, "inference", lifted)
    rehearsed.put_plain_values()
    has_results = bool(capture.graph["outputs"]["results"])
    return replace(
        capture,
        structure=structure if has_results else None,
        reads_layout=rehearsed.reads_layout,
    )


@contextlib.contextmanager
def _tracing(step: nn.Module) -> Iterator[None]:
    """Turn any error of a trace into a ``CaptureError`` of one line, and restore the modules."""
    try:
        with Surroundings(step).restored(), untouched(step):
            yield
    except Exception as error:
        reason = None if isinstance(error, CaptureError) else explained(error, step)
        # A forward that was interrupted holds resources, such as a checkpoint its hooks.
        traceback.clear_frames(error.__traceback__)
        if reason is None:
            raise
        raise CaptureError(reason) from error


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


@contextlib.contextmanager
def _frozen(step: nn.Module, names: list[str]) -> Iterator[None]:
    """Exclude parameters without a gradient, because AOTAutograd requires one for each."""
    parameters = dict(step.named_parameters())
    for name in names:
        parameters[name].requires_grad_(False)
    try:
        yield
    finally:
        for name in names:
            parameters[name].requires_grad_(True)


def _encode(
    module: Any, signature: Any, flat: Flat, prefix: str, lifted: dict[str, Tensor]
) -> Capture:
    encoder = Encoder(module, prefix)
    parameters, buffers = signature.inputs_to_parameters, signature.inputs_to_buffers
    keys = {**parameters, **buffers}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            name = flat.names.get(keys.get(node.name, ""))
            if name is None:
                encoder.add_input(node, node.name, "batch")
            elif name in lifted:
                encoder.add_constant_input(node, name, lifted[name])
            else:
                role = "parameter" if node.name in parameters else "buffer"
                encoder.add_input(node, name.removeprefix(_MODEL), role)
        elif node.op != "output":
            encoder.add_node(node)
    mutated = (flat.names[key] for key in signature.buffers_to_mutate.values())
    changed = next((name for name in mutated if name in lifted), None)
    if changed is not None:
        raise CaptureError(
            f"{changed.removeprefix(_MODEL)} is changed by the forward but is not a buffer of the "
            "model; register it with register_buffer"
        )
    outputs = _outputs(encoder, module, signature, flat)
    graph = encoder.finish(outputs)
    predictions = tuple(graph["values"][outputs["predictions"]]["shape"])
    return Capture(graph, encoder.constants, predictions)


def _outputs(
    encoder: Encoder, module: torch.fx.GraphModule, signature: Any, flat: Flat
) -> dict[str, Any]:
    (returned,) = next(iter(module.graph.find_nodes(op="output"))).args
    by_name = {node.name: node for node in returned if node is not None}
    backward = signature.backward_signature
    # Where buffers change, `backward.loss_output` names a wrong output; `user_outputs` is in order.
    values = [encoder.value(by_name[name]) for name in signature.user_outputs]
    loss = values.pop(0) if backward else None
    predictions, *results = values

    def named(keys: dict[str, str]) -> list[tuple[str, int]]:
        return [
            (flat.names[key].removeprefix(_MODEL), encoder.value(by_name[node]))
            for node, key in keys.items()
        ]

    return {
        "loss": loss,
        "predictions": predictions,
        "results": results,
        "gradients": named(backward.gradients_to_parameters if backward else {}),
        "buffers": named(signature.buffers_to_mutate),
    }
