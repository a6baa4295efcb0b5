"""Steps in plain PyTorch, for a model that cannot be captured."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from proprelu.graph.mode import kept_modes
from proprelu.graph.reading import OutputStructure, Reading
from proprelu.graph.step import InferenceModule, StepModule
from proprelu.train.device.place import home_of
from proprelu.train.draws import Draws
from proprelu.train.recipe.losses import batch_weight, left_out

__all__ = ["EagerRunner", "OutputLoss", "readable_labels"]


class EagerRunner:
    """Runs forward and autograd in Python, with the interface that the core's loop calls.

    Args:
        step: the model with its loss.
        draws: the generator of a step's random operations; ``None`` for the caller's.
    """

    def __init__(self, step: StepModule, draws: Draws | None = None) -> None:
        self._draws = draws
        self._model = step.model
        self._step = step
        self._inference = InferenceModule(step.model, step.bf16, step.reading)

    @property
    def left_out(self) -> list[int]:
        """The labels that the loss leaves out."""
        return left_out(self._step.loss)

    def to(self, device: torch.device) -> None:
        """Move model, loss and teacher to a device."""
        self._step.to(device)

    def step(
        self, images: Tensor, labels: Sequence[Tensor]
    ) -> tuple[float, Tensor, list[tuple[str, Tensor]]]:
        """The loss, the predictions and the gradients by name for one batch.

        Everything happens as in a plain loop: hooks run, counters count, modes stay.
        """
        buffers = [(buffer, buffer.clone()) for buffer in self._step.buffers()]
        parameters = dict(self._step.named_parameters())
        draws = self._draws.active() if self._draws else contextlib.nullcontext()
        own_gradients = _own_gradients(parameters.values())
        with (
            draws,
            _own_memory(self._step),
            _own_buffers(self._step),
            own_gradients,
            torch.enable_grad(),
            readable_labels(),
        ):
            # `forward` is called directly, because hooks for all modules must not see the step.
            loss, predictions = self._step.forward(images, *labels)
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        if not loss.isfinite():
            # The loop stops here, with the model as it was before this step.
            for buffer, before in buffers:
                buffer.copy_(before)
        named = [(name.removeprefix("model."), gradient) for name, gradient in gradients.items()]
        return loss.item(), predictions, named

    def predict(self, images: Tensor) -> Tensor:
        """The predictions for a batch in evaluation mode."""
        with torch.no_grad(), kept_modes(self._model):
            self._model.eval()
            predictions: Tensor = self._inference.forward(images)[0]
        return predictions

    def evaluate(self, images: Tensor, labels: Sequence[Tensor]) -> tuple[float, float, Tensor]:
        """The mean loss of a batch, its weight among several, and the predictions."""
        reading = self._step.reading
        with torch.no_grad(), readable_labels(), kept_modes(self._model):
            self._model.eval()
            output = self._step.output(images)
            loss = float(reading.loss(self._step.loss, output, labels))
        weight = batch_weight(self._step.loss, reading.target(labels), len(images))
        return loss, weight, reading.predictions(output).float()


class OutputLoss:
    """The loss of a captured model's outputs, with the weight of the batch.

    Args:
        loss: the loss.
        reading: what it gets of the output and the labels.
        structure: how the output is put together from several tensors; ``None`` for one.
    """

    def __init__(
        self, loss: nn.Module, reading: Reading, structure: OutputStructure | None
    ) -> None:
        self._loss = loss
        self._reading = reading
        self._structure = structure

    def __call__(self, outputs: Sequence[Tensor], labels: Sequence[Tensor]) -> tuple[float, float]:
        """The loss, computed on its own device, and the weight."""
        home = home_of(self._loss)
        tensors = [tensor.to(home) for tensor in outputs]
        output = tensors[0] if self._structure is None else self._structure.together(tensors)
        moved = [label.to(home) for label in labels]
        with torch.no_grad(), readable_labels():
            loss = float(self._reading.loss(self._loss, output, moved))
        return loss, batch_weight(self._loss, self._reading.target(moved), len(labels[0]))


@contextlib.contextmanager
def _own_buffers(step: nn.Module) -> Iterator[None]:
    """Write the values of buffers that a forward replaces into the buffers of the training."""
    before = [(m._buffers, name, b) for m in step.modules() for name, b in m._buffers.items()]
    yield
    for buffers, name, buffer in before:
        new = buffers.get(name)
        if new is not buffer and new is not None and buffer is not None:
            if new.shape != buffer.shape:
                raise ValueError(
                    f"a buffer must keep its shape during fit, got {tuple(new.shape)} in place "
                    f"of {tuple(buffer.shape)} for {name}"
                )
            buffers[name] = buffer.copy_(new.detach())


@contextlib.contextmanager
def _own_memory(step: nn.Module) -> Iterator[None]:
    """Write values that a forward assigns to ``data`` into the memory of the training.

    The core updates this memory; in another place the update would be lost.
    """
    before = [(tensor, tensor.detach()) for tensor in (*step.parameters(), *step.buffers())]
    yield
    for tensor, own in before:
        if tensor.data_ptr() != own.data_ptr():
            tensor.data = own.copy_(tensor.data)


@contextlib.contextmanager
def _own_gradients(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Start without gradients inside the context, and give the parameters theirs back."""
    before = [(parameter, parameter.grad) for parameter in parameters]
    for parameter, _ in before:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in before:
            parameter.grad = gradient


@contextlib.contextmanager
def readable_labels() -> Iterator[None]:
    """Replace torch's IndexError for a label out of range by an error that explains it."""
    try:
        yield
    except IndexError as error:
        found = re.match(r"Target (-?\d+) is out of bounds", str(error))
        if found is None:
            raise
        raise ValueError(
            f"labels must be from 0 to the outputs of the model - 1, got {found[1]}; number the "
            "classes from 0, build the model with more outputs, or pass a loss that ignores "
            f"{found[1]}, as nn.CrossEntropyLoss(ignore_index={found[1]})"
        ) from error
