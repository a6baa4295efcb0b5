"""PyTorch's training on a GPU: channels_last, bf16 autocast, fused SGD, eager or compiled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from side_by_side.works import MOMENTUM, WEIGHT_DECAY
from torch import Tensor, nn
from torch.nn import functional as F

from gpu.augment import augmented
from gpu.systems import GpuSystem


class LossOfImages(nn.Module):
    """The loss of normalized images (N, H, W, C), as a DataLoader gives them."""

    def __init__(self, model: nn.Module, place: torch.device) -> None:
        super().__init__()
        self.model = model
        self._device = place.type

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self._loss(images.permute(0, 3, 1, 2), labels)

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(self._device, torch.bfloat16):
            predictions = self.model(images)
        return F.cross_entropy(predictions.float(), labels)


class LossOfPixels(LossOfImages):
    """The loss of bytes on the device: what is compiled has the augmentation in it."""

    def __init__(self, model: nn.Module, pad: int, place: torch.device) -> None:
        super().__init__(model, place)
        self._pad = pad

    def forward(  # type: ignore[override]
        self, pixels: Tensor, labels: Tensor, drawn: Tensor, scale: Tensor, shift: Tensor
    ) -> Tensor:
        return self._loss(augmented(pixels, drawn, scale, shift, self._pad), labels)


class TorchTraining:
    """A model and its steps.

    Attributes:
        optimizer: whose rate a schedule may set.
    """

    def __init__(
        self, model: nn.Module, lr: float, pad: int, system: GpuSystem, place: torch.device
    ) -> None:
        torch.backends.cudnn.benchmark = True
        self.model = model.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=lr,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        loss = (
            LossOfImages(self.model, place)
            if system.loader
            else LossOfPixels(self.model, pad, place)
        )
        self._compiled = bool(system.compiled)
        self._loss: Callable[..., Tensor] = loss
        if system.compiled:
            # Forward, loss and augmentation as one graph; its backward is compiled with it.
            self._loss = torch.compile(loss, mode=system.compiled, dynamic=False)

    def step(self, *batch: Tensor) -> Tensor:
        """One step; the loss holds until the next one."""
        if self._compiled:
            torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad()
        loss = self._loss(*batch)
        loss.backward()
        self.optimizer.step()
        return loss
