"""Surgeries that compute weights leave the caller's random numbers as they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import proprelu
import pytest
import torch
from proprelu.convert import decompose, factorize, remove_layers, tie_blocks
from proprelu.merge import hoist_padding
from torch import nn

X = torch.linspace(-1, 1, 2 * 4 * 16 * 16).view(2, 4, 16, 16)
SURGERIES: dict[str, Callable[[nn.Module], object]] = {
    "convert": lambda net: proprelu.convert(net, "2:1", example_input=X),
    "decompose": decompose,
    "factorize": lambda net: factorize(net, "svd"),
    "hoist_padding": lambda net: hoist_padding(net, X),
    "merge": lambda net: proprelu.merge(net, X, cost="macs"),
    "merge for latency": lambda net: proprelu.merge(net, X),
    "remove_layers": lambda net: remove_layers(net, ["3"], X),
    "tie_blocks": lambda net: tie_blocks(net, 2),
}


@pytest.mark.parametrize("name", SURGERIES)
def test_random_numbers_are_left_as_they_are(name: str) -> None:
    convs = [nn.Conv2d(4, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
    net = nn.Sequential(*convs, nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()).eval()
    before, numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    SURGERIES[name](net)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy)
