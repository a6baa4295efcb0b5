"""Wraps a model and its loss, or a model alone, as one traceable function of a batch."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.graph.views import AnyOrderViews

__all__ = ["InferenceModule", "StepModule", "first_tensor"]


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
    """

    def __init__(self, model: nn.Module, loss: nn.Module, bf16: bool = False) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.bf16 = bf16

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss, predictions = self.learn(images, labels)
        return loss, predictions.detach()

    def learn(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the predictions, both attached to the autograd graph."""
        with _precision(self.bf16, images), AnyOrderViews():
            output = self.model(images)
        predictions = first_tensor(output).float()
        loss: Tensor = self.loss(predictions if isinstance(output, Tensor) else output, labels)
        return loss, predictions


class InferenceModule(nn.Module):
    """A model as one function from images to predictions."""

    def __init__(self, model: nn.Module, bf16: bool = False) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16

    def forward(self, images: Tensor) -> tuple[Tensor]:
        with _precision(self.bf16, images), AnyOrderViews():
            output = self.model(images)
        return (first_tensor(output).float(),)


def first_tensor(output: Any) -> Tensor:
    """The predictions in a model's output: the tensor, or the first of a tuple or dict."""
    if isinstance(output, Tensor):
        return output
    items = list(output.values()) if isinstance(output, dict) else output
    if isinstance(items, (tuple, list)) and items and isinstance(items[0], Tensor):
        return items[0]
    raise TypeError(
        f"the model must return a tensor, or a tuple or dict that starts with one, "
        f"got {type(output).__name__}"
    )


def _precision(bf16: bool, images: Tensor) -> contextlib.AbstractContextManager[Any]:
    # Autocast's weight cache would hold tensors of this trace and pass them to the next one.
    return torch.autocast(images.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False)
