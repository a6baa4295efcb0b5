"""Properties that only a GPU can show: graphs, and steps without synchronization."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import proprelu
import proprelu.backend
import pytest
import torch
from proprelu.train import Logger
from torch import Tensor, nn

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def _model(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), *more]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def _data(count: int = 512) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return images, random.integers(0, 4, count)


class Watch(Logger):
    """Makes torch raise on synchronization, from the first step of an epoch to its end."""

    def on_step(self, event: Mapping[str, Any]) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def on_epoch(self, row: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


def _trainer(model: nn.Module, **options: Any) -> proprelu.Trainer:
    return proprelu.Trainer(model, device="cuda", progress=False, **options)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_epoch_has_no_synchronization(precision: str) -> None:
    trainer = _trainer(_model(), precision=precision, loggers=[Watch()])
    try:
        history = trainer.fit(_data(), _data(100), epochs=3, batch_size=16)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(history) == 3


def test_steps_are_captured() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _trainer(_model()).fit(_data(), _data(300), epochs=2, batch_size=16)


@torch.library.custom_op("proprelu_tests::waits", mutates_args=())
def _waits(x: Tensor) -> Tensor:
    return x * float(x.sum() * 0 + 1)


@_waits.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


_waits.register_autograd(lambda ctx, grad: grad)


class Waits(nn.Module):
    """An operation that synchronizes cannot be part of a graph."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.proprelu_tests.waits(x)
        return out


def test_a_step_that_synchronizes_is_launched_kernel_by_kernel() -> None:
    trainer = _trainer(_model(Waits()))
    with pytest.warns(UserWarning, match="cannot be captured") as caught:
        history = trainer.fit(_data(), epochs=2, batch_size=16)
    assert len(history) == 2
    assert sum("proprelu_tests::waits" in str(warning.message) for warning in caught) == 1


def test_random_numbers_are_new_in_each_replay() -> None:
    """With the same images and no updates, only dropout changes the losses of the steps."""
    images = np.full((64, 16, 16, 3), 100, np.uint8)
    losses = []

    class Losses(Logger):
        def on_step(self, event: Mapping[str, Any]) -> None:
            losses.append(event["loss"])

    model = _model(nn.Dropout(0.5))
    trainer = _trainer(model, optimizer=proprelu.SGD(lr=0.0), loggers=[Losses()])
    trainer.fit((images, np.zeros(64, np.int64)), epochs=30, batch_size=8)
    assert len(set(losses)) > len(losses) // 2


def test_the_model_can_be_trained_further_in_plain_torch() -> None:
    model = _model()
    _trainer(model).fit(_data(), epochs=1, batch_size=16)
    assert next(model.parameters()).device.type == "cuda"
    model(torch.randn(2, 3, 16, 16, device="cuda")).sum().backward()


def test_memory_is_freed() -> None:
    model = _model()
    _trainer(model).fit(_data(), epochs=1, batch_size=64)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        _trainer(model).fit(_data(), epochs=1, batch_size=64)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + (1 << 20)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_block_in_eager_compiled_and_on_a_side_stream(bf16: bool) -> None:
    torch.manual_seed(0)
    block = proprelu.nn.ProportionalBlock(3, 8, ratio="2:1").cuda()
    block = block.to(memory_format=torch.channels_last)
    x = torch.randn(4, 3, 9, 9, device="cuda").contiguous(memory_format=torch.channels_last)
    compiled = torch.compile(block, backend=proprelu.backend.proprelu)
    with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        expected = block(x)
        torch.testing.assert_close(compiled(x), expected, rtol=2e-2, atol=2e-2)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            beside = compiled(x)
        torch.cuda.current_stream().wait_stream(stream)
    torch.testing.assert_close(beside, expected, rtol=2e-2, atol=2e-2)
