"""Steps that are captured once and replayed."""

import _thread
import gc
from typing import Any

import numpy as np
import pytest
import torch
from cuda_trainings import (
    CLASSES,
    arrays,
    assert_close,
    losses,
    small,
    stream,
    tensors,
    trainer,
)
from proprelu.train.device.device import Cuda, Device
from torch import Tensor, nn

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


class Slow(nn.Module):
    """A model with a step that is long enough to be interrupted."""

    zeros: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, CLASSES)
        self.norm = nn.BatchNorm1d(CLASSES)
        self.register_buffer("zeros", torch.zeros(1024, 1024))

    def forward(self, x: Tensor) -> Tensor:
        product = self.zeros
        for _ in range(12):
            product = product @ self.zeros
        y: Tensor = self.norm(self.fc(x.flatten(1) + product.mean()))
        return y


class Interrupting:
    """Simulates Ctrl-C while a step is captured."""

    begin = staticmethod(_thread.interrupt_main)

    def end(self) -> Any:
        raise RuntimeError("nothing can be captured here")

    def abandon(self) -> None: ...
    def explain(self, reason: str) -> None: ...


class InterruptedAtTheEnd(Interrupting):
    """Simulates Ctrl-C at the end of the capture."""

    def begin(self) -> None: ...  # type: ignore[override]

    def end(self) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize("graphs", [Interrupting, InterruptedAtTheEnd])
def test_ctrl_c_while_a_step_is_captured(
    graphs: type[Interrupting], host: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "graphs", graphs)
    model = Slow()
    with pytest.raises(KeyboardInterrupt):
        trainer(model, host).fit(stream(*tensors(), size=4), epochs=1)
    assert 0 < int(model.state_dict()["norm.num_batches_tracked"]) <= 4


@needs_gpu
def test_a_graph_matches_separate_launches() -> None:
    """The masks of dropout are included; each replay draws new ones."""
    results = []
    for cuda_graph in (True, False):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, CLASSES))
        training = trainer(model, Cuda(torch.device("cuda"), cuda_graph))
        training.fit(arrays(64), arrays(100, seed=1), epochs=2, batch_size=8)
        results.append((losses(training), model.state_dict()))
    (ours, here), (theirs, there) = results
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert_close(here, there)


@needs_gpu
def test_memory_is_freed() -> None:
    """Data are freed after a training, everything else with the trainer."""
    device = Cuda(torch.device("cuda"))
    images = np.zeros((65536, 8, 8, 3), np.uint8)
    data = (images, np.arange(len(images)) % CLASSES)

    def allocated() -> tuple[int, int]:
        training = trainer(small(), device)
        training.fit(data, data, epochs=1, batch_size=256)
        gc.collect()
        behind_fit = torch.cuda.memory_allocated()
        del training
        gc.collect()
        return behind_fit, torch.cuda.memory_allocated()

    # torch's libraries keep memory after their first use.
    (_, before), (behind_fit, after) = allocated(), allocated()
    assert behind_fit - before < images.nbytes // 2
    assert after == before
