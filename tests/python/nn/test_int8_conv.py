"""The layer with 8-bit operands."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from proprelu.nn import Int8, Int8Conv2d
from torch import nn


def _near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).norm() < 0.03 * expected.norm())


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": "same"},
        {"padding": "valid", "stride": 2},
        {"padding": (2, 1), "padding_mode": "reflect"},
        {"padding": 1, "padding_mode": "circular", "bias": False},
        {"padding": "same", "kernel_size": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.filterwarnings("ignore:.*even kernel lengths:UserWarning")
def test_it_is_near_to_a_convolution(options: dict[str, Any], single: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 8, **{"kernel_size": 3, **options})
    layer = Int8Conv2d(3, 8, **{"kernel_size": 3, **options})
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(3, 9, 8) if single else torch.randn(2, 3, 9, 8)
    assert _near(layer(x), plain(x))
    layer.eval()
    assert _near(layer(x), plain(x))


def test_it_survives_what_torch_does_with_layers(survives_torch_transforms: Any) -> None:
    torch.manual_seed(0)
    layer = Int8Conv2d(4, 6, 3, padding=1)
    layer(torch.randn(2, 4, 5, 5))
    survives_torch_transforms(layer, torch.randn(2, 4, 5, 5))


def test_a_prediction_does_not_depend_on_the_other_images() -> None:
    torch.manual_seed(0)
    layer = Int8Conv2d(3, 4, 3)
    for _ in range(3):
        layer(torch.randn(4, 3, 6, 6))
    layer.eval()
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(layer(torch.cat([x, 100 * x]))[:2], layer(x))


def test_the_scale_of_the_input_follows_in_training_mode_only() -> None:
    layer = Int8Conv2d(1, 2, 1)
    for size, expected in ((2.0, 2.0), (4.0, 2.2), (float("nan"), 2.2)):
        layer(torch.full((1, 1, 2, 2), size))
        assert layer.input_scale.item() == pytest.approx(expected)
    layer.eval()(torch.full((1, 1, 2, 2), 9.0))
    assert layer.input_scale.item() == pytest.approx(2.2)


def test_gradients_leave_their_scales_also_of_two_calls() -> None:
    torch.manual_seed(0)
    layer = Int8Conv2d(3, 4, 3, padding=1, settings=Int8("max"))
    x = torch.randn(2, 3, 5, 5)
    loss = layer(x).square().mean() + layer(2 * x).square().mean()
    loss.backward()
    assert layer.weight.grad is not None
    assert (layer.channel_scales > 0).all()
    assert layer.tensor_scale == layer.channel_scales.max()


def test_it_trains_when_compiled_as_it_does_otherwise() -> None:
    torch.manual_seed(0)
    layer, x = Int8Conv2d(3, 4, 3), torch.randn(2, 3, 6, 6)
    layer(x).square().sum().backward()
    expected = [layer.weight.grad, *(b.clone() for b in layer.buffers())]
    layer.weight.grad = None
    for buffer in layer.buffers():
        buffer.zero_()
    torch._dynamo.reset()
    torch.compile(layer, backend="aot_eager", fullgraph=True)(x).square().sum().backward()
    torch.testing.assert_close([layer.weight.grad, *layer.buffers()], expected)
