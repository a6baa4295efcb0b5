"""The floor of a training step, and the losses that all systems have to reach.

The floor counts convolutions and linear layers: the forward, and two products in the backward, but
no gradient of the images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from harness.cost import Cost, Layer, forward_cost, step_cost
from harness.floor import serve_floor
from harness.talk import Talk
from torch import Tensor, nn
from works.start import export, make_model
from works.steps import Work

from systems.reference import reference_losses


def serve(talk: Talk, device: str, work: Work, folder: str, **others: Any) -> None:
    # The reference losses in float32 must not be computed in TF32.
    torch.backends.cudnn.allow_tf32 = False
    if work.is_small_resnet and device == "cpu":
        export(work, Path(folder))
    losses, spread = reference_losses(work, device)
    serve_floor(talk, device, cost_of(work), losses, spread)


def cost_of(work: Work) -> Cost:
    """The cost of a training step."""
    model = make_model(work)
    parameters = sum(p.numel() for p in model.parameters())
    return step_cost(_layers(model, work), parameters, work.batch)


def forward_cost_of(work: Work) -> Cost:
    """The cost of a forward."""
    return forward_cost(_layers(make_model(work), work), work.batch)


def _layers(model: nn.Module, work: Work) -> list[Layer]:
    """Its layers, from a forward of one image on the meta device."""
    layers: list[Layer] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        layers.append(Layer(inputs[0].numel(), output.numel(), output.numel() * weight[0].numel()))

    model = model.eval().to("meta")
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(note)
    with torch.no_grad():
        model(torch.zeros(1, 3, work.size, work.size, device="meta"))
    return layers
