"""Wraps a model and its loss, or a model alone, as one traceable function of a batch."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.graph.reading import OutputStructure, Reading
from proprelu.graph.views import AnyOrderViews

__all__ = ["InferenceModule", "StepModule", "first_tensor", "precision"]


_PLAIN = Reading()


class StepModule(nn.Module):
    """Model and loss as one module, so that one trace captures both.

    Called with images and labels, it returns the loss, and the predictions detached from the
    autograd graph.

    Args:
        model: the trained model. The parameters and buffers of the model and of the loss are
            inputs of the captured graph. Tensors of any other part that a subclass adds become
            constants.
        loss: called with the model's output and the labels; returns a scalar.
        bf16: run the model under ``torch.autocast`` in bfloat16; the loss stays in float32.
        reading: how predictions and loss are read from the model's output and the labels.
    """

    def __init__(
        self, model: nn.Module, loss: nn.Module, bf16: bool = False, reading: Reading = _PLAIN
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.bf16 = bf16
        self.reading = reading

    def forward(self, images: Tensor, *labels: Tensor) -> tuple[Tensor, Tensor]:
        loss, predictions = self.learn(images, *labels)
        return loss, predictions.detach()

    def learn(self, images: Tensor, *labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the predictions, both attached to the autograd graph."""
        output = self.output(images)
        predictions = self.reading.predictions(output).float()
        return self.reading.loss(self.loss, output, labels), predictions

    def output(self, images: Tensor) -> Any:
        """The output of the model."""
        with precision(self.bf16, images.device), AnyOrderViews():
            return self.model(images)


class InferenceModule(nn.Module):
    """A model as one function from images to predictions, and the rest of its output.

    Args:
        model: the model.
        bf16: run it under ``torch.autocast`` in bfloat16.
        reading: which part of the output the predictions are.
        structure: receives the structure of the output; if given, all tensors of an output that is
            more than one tensor are returned after the predictions.
    """

    def __init__(
        self,
        model: nn.Module,
        bf16: bool = False,
        reading: Reading = _PLAIN,
        structure: OutputStructure | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16
        self.reading = reading
        self.structure = structure

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        with precision(self.bf16, images.device), AnyOrderViews():
            output = self.model(images)
        predictions = self.reading.predictions(output).float()
        if self.structure is None or isinstance(output, Tensor):
            return (predictions,)
        return (predictions, *self.structure.taken_apart(output))


def first_tensor(output: Any) -> Tensor:
    """The predictions in a model's output: the tensor, or the first of a tuple or dict."""
    return _PLAIN.predictions(output)


def precision(bf16: bool, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Autocast in bfloat16, or none."""
    # Autocast's weight cache would hold tensors of this trace and pass them to the next one.
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False)
