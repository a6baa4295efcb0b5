"""What a trace sees: a model with its loss, or a model alone, as one function of a batch."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from proprelu.graph.views import AnyOrderViews

__all__ = ["InferenceModule", "StepModule", "first_tensor"]


class StepModule(nn.Module):
    """Model and loss as one module, so that one trace sees both.

    Called with images and labels it gives the loss, with its graph, and the predictions without.

    Args:
        model: its parameters and buffers are those of the training, as are the loss's; tensors of
            any other part that a subclass adds are taken as they are when it is captured.
        loss: called with the model's output and the labels; gives a scalar.
        bf16: run the model under `torch.autocast` in bfloat16; the loss stays in float32.
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
        """The loss and the predictions, both with their graph."""
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
    """The predictions in what a model returned: the tensor, or the first of a tuple or dict."""
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
    # The cache of casts holds tensors of one trace; it must not reach the next.
    return torch.autocast(images.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False)
