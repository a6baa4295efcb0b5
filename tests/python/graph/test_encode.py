"""Encoding of arguments of ATen operations as plain data."""

import math
from typing import Any

import pytest
import torch
from proprelu.graph.encode import CaptureError, encode_argument
from proprelu.graph.joint import capture_inference
from torch import nn

aten = torch.ops.aten


def _encoded(overload: Any, name: str, value: Any) -> Any:
    (argument,) = (a for a in overload._schema.arguments if a.name == name)
    return encode_argument(argument.real_type, value, lambda node: {"tensor": int(node[1:])})


@pytest.mark.parametrize(
    ("overload", "name", "value", "expected"),
    [
        (aten.relu.default, "self", "%7", {"tensor": 7}),
        (aten.mul.Tensor, "other", 2.5, {"scalar": 2.5}),
        (aten.add.Tensor, "alpha", 1, {"scalar": 1}),
        (aten.clamp.default, "min", None, "none"),
        (aten.clamp.default, "min", True, {"some": {"scalar": True}}),
        (aten.clamp.default, "max", math.inf, {"some": {"scalar": math.inf}}),
        (aten.masked_fill.Scalar, "value", -math.inf, {"scalar": -math.inf}),
        (aten.native_batch_norm.default, "eps", 1, {"float": 1.0}),
        (aten.native_batch_norm.default, "eps", math.nan, {"float": math.nan}),
        (aten.native_batch_norm.default, "training", True, {"bool": True}),
        (aten.softmax.int, "dim", -1, {"int": -1}),
        (aten.softmax.int, "dtype", torch.bfloat16, {"some": {"dtype": "bfloat16"}}),
        (aten.gelu.default, "approximate", "tanh", {"str": "tanh"}),
        (aten.convolution.default, "bias", None, "none"),
        (aten.convolution.default, "bias", "%3", {"some": {"tensor": 3}}),
        (aten.convolution.default, "stride", [2, 1], {"list": [{"int": 2}, {"int": 1}]}),
        (aten.view.default, "size", (3, -1), {"list": [{"int": 3}, {"int": -1}]}),
        (aten.cat.default, "tensors", ["%1", "%2"], {"list": [{"tensor": 1}, {"tensor": 2}]}),
        (aten.index.Tensor, "indices", [None, "%2"], {"list": ["none", {"some": {"tensor": 2}}]}),
        (aten.mean.dim, "dim", [2], {"some": {"list": [{"int": 2}]}}),
        (aten.full.default, "layout", torch.strided, {"some": {"layout": "strided"}}),
        (aten.full.default, "device", torch.device("cpu"), {"some": {"device": "cpu"}}),
        (
            aten.clone.default,
            "memory_format",
            torch.channels_last,
            {"some": {"memory_format": "channels_last"}},
        ),
    ],
)
def test_arguments(overload: Any, name: str, value: Any, expected: Any) -> None:
    encoded = _encoded(overload, name, value)
    assert encoded == expected


@pytest.mark.parametrize(
    ("overload", "name", "value", "words"),
    [
        (aten.softmax.int, "dim", "%3", "must be a number known when the model is captured"),
        (aten.mul.Scalar, "other", "%3", "must be a number known"),
        (aten.bernoulli.default, "generator", torch.Generator(), "has no encoding"),
    ],
)
def test_what_has_no_encoding(overload: Any, name: str, value: Any, words: str) -> None:
    with pytest.raises(CaptureError, match=words):
        _encoded(overload, name, value)


class Chunks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, _, last = x.chunk(3, 1)
        return first + last


def test_a_list_has_a_place_for_each_item() -> None:
    graph = capture_inference(Chunks(), torch.zeros(2, 6)).graph
    (split,) = (call for call in graph["calls"] if call["returns_list"])
    assert len(split["outputs"]) == 3
    assert [output is None for output in split["outputs"]] == [False, True, False]


def test_layouts_are_encoded() -> None:
    class Both(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.contiguous() + 1

    images = torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    graph = capture_inference(Both(), images).graph
    image = graph["values"][graph["inputs"][0]["value"]]
    assert image == {"shape": [2, 3, 4, 5], "dtype": "float32", "channels_last": True}
    assert not graph["values"][graph["outputs"]["predictions"]]["channels_last"]
