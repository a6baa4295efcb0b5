"""PyTorch's training step: autocast, fused SGD, eager or compiled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from harness.system import PROPRELU, System
from torch import Tensor, nn
from torch.nn import functional as F
from works.steps import MOMENTUM, WEIGHT_DECAY

from systems.augment import augmented


def layout_of(system: System) -> torch.memory_format:
    return torch.channels_last if system.channels_last else torch.contiguous_format


class LossOfImages(nn.Module):
    """The loss of normalized images (N, C, H, W)."""

    def __init__(self, model: nn.Module, system: System, device: str) -> None:
        super().__init__()
        self.model = model
        self._device = device
        self._bf16 = system.precision == "bf16"

    def predicted(self, images: Tensor) -> Tensor:
        with torch.autocast(self._device, torch.bfloat16, enabled=self._bf16):
            predictions: Tensor = self.model(images)
        return predictions.float()

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.predicted(images), labels)


class LossOfPixels(LossOfImages):
    """The loss of bytes on the device: the compiled graph contains the augmentation."""

    def __init__(self, model: nn.Module, pad: int, system: System, device: str) -> None:
        super().__init__(model, system, device)
        self._pad = pad

    def forward(  # type: ignore[override]
        self, pixels: Tensor, labels: Tensor, drawn: Tensor, scale: Tensor, shift: Tensor
    ) -> Tensor:
        images = augmented(pixels, drawn, scale, shift, self._pad)
        return F.cross_entropy(self.predicted(images), labels)


class TorchTraining:
    """A model, its optimizer and its steps.

    Attributes:
        optimizer: its learning rate may be set by a schedule.
        loss: gives predictions as well.
    """

    def __init__(self, model: nn.Module, lr: float, pad: int, system: System, device: str) -> None:
        torch.backends.cudnn.benchmark = True
        self.model = model.to(device).to(memory_format=layout_of(system))  # type: ignore[call-overload]
        # The fused one of torch's three implementations is the fastest, on a CPU too.
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=lr,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        self.loss = (
            LossOfPixels(self.model, pad, system, device)
            if system.feed == "resident"
            else LossOfImages(self.model, system, device)
        )
        self._marks_steps = bool(system.compiled) and device == "cuda"
        self._forward: Callable[..., Tensor] = self.loss
        if system.compiled:
            # Forward, loss and augmentation as one graph; its backward is compiled with it.
            backend = PROPRELU if system.is_ours else "inductor"
            self._forward = torch.compile(
                self.loss, backend=backend, mode=system.compiled, dynamic=False
            )

    def step(self, *batch: Tensor) -> Tensor:
        """Run one step; the loss is valid until the next one."""
        if self._marks_steps:
            torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad()
        loss = self._forward(*batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def compile_ahead(self, *batch: Tensor) -> None:
        """Compile with a batch, and restore the model."""
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self._forward(*batch).backward()
        self.model.load_state_dict(before)
        self.forget()

    def forget(self) -> None:
        """Free gradients and momentum."""
        self.optimizer.zero_grad()
        self.optimizer.state.clear()
