"""Captured graphs of training steps; the capture must not change the model."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from proprelu.graph.joint import Capture, CaptureError, capture_inference, capture_step
from proprelu.graph.step import StepModule, first_tensor
from torch import Tensor, nn

IMAGES, LABELS = torch.zeros(4, 3, 6, 6), torch.zeros(4, dtype=torch.int64)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.fc = nn.Linear(4, 5)
        self.unused = nn.Linear(4, 5)
        self.scale = torch.tensor(2.0)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.conv(x)).relu().mean((2, 3)) * self.scale
        return self.fc(self.frozen(x))


def _step(model: nn.Module, loss: nn.Module | None = None, **options: Any) -> Capture:
    step = StepModule(model.train(), loss or nn.CrossEntropyLoss(), **options)
    return capture_step(step, IMAGES, LABELS)


def _names(graph: dict[str, Any], role: str) -> set[str]:
    return {entry["name"] for entry in graph["inputs"] if entry["role"] == role}


def test_roles_of_a_step() -> None:
    model = Model()
    capture = _step(model)
    graph = capture.graph
    trained = {"conv.weight", "conv.bias", "norm.weight", "norm.bias", "fc.weight", "fc.bias"}
    assert {name for name, _ in graph["outputs"]["gradients"]} == trained
    assert trained <= _names(graph, "parameter")
    running = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert {name for name, _ in graph["outputs"]["buffers"]} == running
    assert _names(graph, "buffer") == running
    assert len(_names(graph, "batch")) == 2
    assert set(capture.constants) == _names(graph, "constant")
    assert torch.equal(capture.constants["step.model.scale"], model.scale)
    assert capture.predictions == (4, 5)
    values = graph["values"]
    assert values[graph["outputs"]["loss"]]["shape"] == []
    for name, value in graph["outputs"]["gradients"]:
        assert tuple(values[value]["shape"]) == model.get_parameter(name).shape


def test_roles_of_an_inference() -> None:
    capture = capture_inference(Model().eval(), IMAGES)
    graph = capture.graph
    assert graph["outputs"]["loss"] is None
    assert graph["outputs"]["gradients"] == graph["outputs"]["buffers"] == []
    assert len(_names(graph, "batch")) == 1
    assert "inference.model.scale" in capture.constants
    assert capture.predictions == (4, 5)


def test_the_images_come_before_the_labels() -> None:
    graph = _step(Model()).graph
    first, second = (entry["value"] for entry in graph["inputs"] if entry["role"] == "batch")
    assert graph["values"][first]["shape"] == [4, 3, 6, 6]
    assert graph["values"][second]["dtype"] == "int64"


def test_parameters_of_a_loss_have_their_own_names() -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(5))

        def forward(self, output: Tensor, labels: Tensor) -> Tensor:
            return (output * self.weight).square().mean()

    graph = _step(Model(), Loss()).graph
    assert "loss.weight" in dict(graph["outputs"]["gradients"])


def test_bf16_casts_the_model_and_not_the_loss() -> None:
    graph = _step(Model(), bf16=True).graph
    values, outputs = graph["values"], graph["outputs"]
    assert any(value["dtype"] == "bfloat16" for value in values)
    assert values[outputs["loss"]]["dtype"] == values[outputs["predictions"]]["dtype"] == "float32"
    assert all(values[value]["dtype"] == "float32" for _, value in outputs["gradients"])


def _state(model: nn.Module) -> dict[str, Any]:
    return {
        name: (id(tensor), tensor.requires_grad, tensor.clone())
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }


def _same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return before.keys() == after.keys() and all(
        before[name][:2] == after[name][:2] and torch.equal(before[name][2], after[name][2])
        for name in before
    )


class Counting(Model):
    """Changes a tensor in place that is a plain attribute."""

    def forward(self, x: Tensor) -> Any:
        self.scale.add_(1)
        return super().forward(x)


class Peeking(Model):
    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        return y if y.sum() > 0 else -y


class Raising(Model):
    def forward(self, x: Tensor) -> Any:
        super().forward(x)
        raise LookupError("first line\nsecond line")


class Stringing(Model):
    def forward(self, x: Tensor) -> Any:
        return str(super().forward(x).shape)


class Unreached(Model):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).detach()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Peeking, "data-dependent|DataDependent"),
        (Raising, "^LookupError: first line, at test_joint.py:[0-9]+ 'raise "),
        (Stringing, "must return a tensor.*got str"),
        (Unreached, "depends on no parameter"),
        (Counting, "scale"),
    ],
)
def test_a_capture_that_fails_leaves_the_model_as_it_was(
    make: Callable[[], nn.Module], words: str
) -> None:
    model = make()
    before, attributes = _state(model), set(model.__dict__)
    with pytest.raises(CaptureError, match=words) as caught:
        _step(model)
    assert "\n" not in str(caught.value)
    assert _same(before, _state(model))
    assert set(model.__dict__) == attributes
    assert type(model.scale) is Tensor
    assert torch.equal(model.scale, torch.tensor(2.0))


def _tied() -> nn.Module:
    model = Model()
    model.unused.weight = model.fc.weight
    return model


def _tied_buffer() -> nn.Module:
    model = Model()
    model.register_buffer("again", model.norm.running_mean)
    return model


@pytest.mark.parametrize("make", [_tied, _tied_buffer])
def test_a_tensor_with_two_names_is_one_input(make: Callable[[], nn.Module]) -> None:
    model = make()
    graph = _step(model).graph
    parameters = dict(model.named_parameters())
    assert _names(graph, "parameter") <= parameters.keys()
    assert _names(graph, "buffer") == dict(model.named_buffers()).keys()
    trained = [name for name, _ in graph["outputs"]["gradients"]]
    assert len(trained) == len(set(trained))


@pytest.mark.parametrize("capture", [_step, lambda m: capture_inference(m.eval(), IMAGES)])
def test_a_capture_leaves_the_model_as_it_was(capture: Callable[[nn.Module], Any]) -> None:
    model = Model()
    before = _state(model)
    capture(model)
    assert _same(before, _state(model))
    assert "scale" in model.__dict__
    assert list(model.state_dict()) == list(Model().state_dict())
    copy.deepcopy(model)(torch.randn(2, 3, 6, 6)).sum().backward()


def test_first_tensor() -> None:
    x, y = torch.zeros(1), torch.ones(1)
    for output in (x, (x, y), [x], {"out": x, "aux": y}):
        assert first_tensor(output) is x
    for wrong in (None, (), [[x]], "text", {}):
        with pytest.raises(TypeError, match="must return a tensor"):
            first_tensor(wrong)
