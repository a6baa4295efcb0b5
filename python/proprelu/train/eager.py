"""Steps in plain PyTorch, for a model that cannot be captured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from proprelu.graph.step import InferenceModule, StepModule
from proprelu.train.device.place import home_of

__all__ = ["EagerRunner", "loss_value"]


class EagerRunner:
    """Runs forward and autograd in Python, with the interface that the core's loop calls."""

    def __init__(self, step: StepModule) -> None:
        self._model = step.model
        self._step = step
        self._inference = InferenceModule(step.model, step.bf16)

    def to(self, device: torch.device) -> None:
        """Move model, loss and teacher to a device."""
        self._step.to(device)

    def step(
        self, images: Tensor, labels: Tensor
    ) -> tuple[float, Tensor, list[tuple[str, Tensor]]]:
        """The loss, the predictions and the gradients by name for one batch."""
        self._model.train()
        buffers = [(buffer, buffer.clone()) for buffer in self._step.buffers()]
        parameters = {n: p for n, p in self._step.named_parameters() if p.requires_grad}
        with torch.enable_grad(), _readable_labels():
            loss, predictions = self._step(images, labels)
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        if not loss.isfinite():
            # The loop stops here, with the model as it was before this step.
            for buffer, before in buffers:
                buffer.copy_(before)
        named = [
            (name.removeprefix("model."), gradient)
            for name, gradient in zip(parameters, gradients, strict=True)
            if gradient is not None
        ]
        return loss.item(), predictions, named

    def predict(self, images: Tensor) -> Tensor:
        """The predictions for a batch in evaluation mode."""
        self._model.eval()
        with torch.no_grad():
            predictions: Tensor = self._inference(images)[0]
        return predictions

    def loss(self, predictions: Tensor, labels: Tensor) -> float:
        """The mean loss of a batch of predictions."""
        with _readable_labels():
            return loss_value(self._step.loss, predictions, labels)


def loss_value(loss: nn.Module, predictions: Tensor, labels: Tensor) -> float:
    """The loss as a number, computed on the device of the loss."""
    home = home_of(loss)
    with torch.no_grad():
        return float(loss(predictions.to(home), labels.to(home)))


@contextlib.contextmanager
def _readable_labels() -> Iterator[None]:
    """Replace torch's IndexError for a label out of range by an error that explains it."""
    try:
        yield
    except IndexError as error:
        if not str(error).startswith("Target "):
            raise
        raise ValueError(
            f"labels must be in 0..the outputs of the model: {error} Number the classes from 0, "
            "or build the model with more outputs"
        ) from error
