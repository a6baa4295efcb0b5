"""Steps update buffers of all kinds; one of them shows the masks of dropout."""

import copy

import torch
from cuda_trainings import CLASSES, arrays, assert_close, trainer
from proprelu import Augment
from proprelu.train.device.device import Device
from torch import Tensor, nn


class Masks(nn.Module):
    """Adds up the output of dropout for ones."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(192, CLASSES)
        self.register_buffer("seen", torch.zeros(2, 192))

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(x.flatten(1))
        if self.training:
            self.seen.add_(x)
        y: Tensor = self.fc(x)
        return y


def test_dropout_draws_a_new_mask_in_each_step(device: Device) -> None:
    model, (images, labels) = Masks(), arrays(24)
    training = trainer(model, device)
    augment = Augment(mean=(0, 0, 0), std=(1, 1, 1))
    training.fit((0 * images + 255, labels), epochs=1, batch_size=2, augment=augment)
    kept = (model.seen / 2).unique().tolist()
    # If all steps from the fourth on used one mask, no sum would be between 3 and 9.
    assert {4, 5, 6, 7, 8} < set(kept) <= set(range(13))


class Buffers(nn.Module):
    """Buffers of several types and layouts; some sizes are not a multiple of four bytes."""

    mask: Tensor
    bright: Tensor
    steps: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, CLASSES)
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("bright", torch.zeros(3, dtype=torch.bool))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(1, 3, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps.add_(1)
            self.seen.mul_(0.9).add_(x.mean(0, keepdim=True))
            self.bright.logical_or_(x.mean((0, 2, 3)) > 0)
        y: Tensor = self.fc((x * self.mask.view(1, 3, 1, 1) - self.seen).flatten(1))
        return y


def test_buffers_of_all_kinds(device: Device) -> None:
    torch.manual_seed(4)
    start, data = Buffers(), arrays()
    model, other = copy.deepcopy(start), copy.deepcopy(start)
    trainer(model, device).fit(data, epochs=2, batch_size=8)
    trainer(other, "cpu").fit(data, epochs=2, batch_size=8)
    assert_close(model.state_dict(), other.state_dict())
    assert model.steps.item() == 8
