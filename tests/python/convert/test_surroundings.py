"""Conversions change nothing of their caller's and do not depend on what is around them."""

from collections.abc import Callable
from typing import Any

import proprelu
import pytest
import torch
from torch import Tensor
from world import SURROUNDINGS, Everything, unchanged

_IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def _model() -> Everything:
    torch.manual_seed(0)
    model = Everything()
    model.norm.eval()
    model.fc.share_memory()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    return model


def _converted(model: Everything, **settings: Any) -> Tensor:
    converted = proprelu.convert(model, "2:1", **settings)
    assert not any(tensor.is_inference() for tensor in converted.parameters())
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False), torch.no_grad():
        y: Tensor = converted.eval()(_IMAGES)
    converted.train()
    converted.norm.eval()
    return y


CALLS: dict[str, Callable[[Everything], Any]] = {
    "plan_for": lambda model: str(proprelu.plan_for(model, "2:1")),
    "ratio_of": lambda model: str(proprelu.ratio_of(model)),
    "convert": _converted,
    "convert with an example": lambda model: _converted(model, example_input=_IMAGES),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_call_depends_on_nothing_around_it_and_leaves_it(call: str, surroundings: str) -> None:
    expected, model = CALLS[call](_model()), _model()
    with SURROUNDINGS[surroundings](), unchanged(model, values=True):
        found = CALLS[call](model)
    if isinstance(expected, Tensor):
        assert torch.equal(found, expected)
    else:
        assert found == expected


def test_a_sensitivity_leaves_everything() -> None:
    model = _model()
    with torch.inference_mode(), unchanged(model, values=True):
        proprelu.convert(model, "2:1", "sensitivity", calibration=[_IMAGES])
