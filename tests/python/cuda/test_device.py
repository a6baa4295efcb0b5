"""The choice of the device, and the errors without a device or without enough memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import proprelu
import pytest
import torch
from proprelu.train.device.device import Device
from proprelu.train.device.out_of_memory import memory_explained, out_of_memory
from proprelu.train.device.place import as_device, on_cpu
from torch import nn

Gpu = Callable[[], Device]


def _model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)
    )


def _data() -> tuple[object, object]:
    return np.zeros((12, 5, 5, 1), np.uint8), np.arange(12) % 2


def test_auto_is_the_device_of_the_model() -> None:
    assert as_device("auto", _model()).device.type == "cpu"
    assert as_device("cpu", _model()).graphs() is None
    assert as_device(torch.device("cpu"), _model(), cuda_graph=False).kernels is None


@pytest.mark.parametrize("device", ["tpu", "meta", "mps", 0, None])
def test_other_devices_are_refused(device: object) -> None:
    with pytest.raises(ValueError, match='must be "auto", "cpu" or "cuda"'):
        as_device(device, _model())  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu() -> None:
    for device in ("cuda", "cuda:1", torch.device("cuda")):
        with pytest.raises(RuntimeError, match='use device="cpu"'):
            proprelu.Trainer(_model(), device=device)


def test_a_wrong_folder_for_kernels(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"augment\.so"):
        proprelu._core.CudaDevice.on_host(tmp_path, 1)


def test_modules_come_back_from_the_cpu() -> None:
    model, empty = nn.BatchNorm2d(2).to("meta"), nn.ReLU()
    # Copying from a meta tensor raises; the modules are moved back nevertheless.
    with pytest.raises(NotImplementedError), on_cpu(model, empty):
        pass
    with on_cpu(nn.Linear(2, 2), empty):
        pass


def test_labels_beyond_the_outputs(gpu: Gpu) -> None:
    images, labels = _data()
    trainer = proprelu.Trainer(_model(), device=gpu(), progress=False)
    with pytest.raises(ValueError, match="2 outputs"):
        trainer.fit((images, labels + 1), epochs=1, batch_size=4)
    with pytest.raises(ValueError, match="labels must be from 0 to 1"):
        trainer.evaluate((images, labels + 1), normalize=False)


@pytest.mark.parametrize(
    ("needed", "free", "words"),
    [
        (40e9, 20e9, "batch_size=57 would fit"),
        (40e9, 0.1e9, "not even one image would fit"),
        # Fragmented memory can be too small although its sum suffices: advise one image less.
        (10e9, 20e9, "batch_size=127 would fit"),
    ],
)
def test_the_message_when_memory_is_exhausted(needed: float, free: float, words: str) -> None:
    message = out_of_memory(torch.device("cuda:0"), 128, int(needed), int(free))
    assert message.startswith("cuda:0 is out of memory: a step of 128 images needs about ")
    assert words in message
    assert "\n" not in message


def test_an_out_of_memory_error_is_one_line() -> None:
    def fails(text: str, needed: int) -> None:
        device = torch.device("cuda:0")
        with memory_explained(device, 64, lambda: needed, lambda: 10**9):
            raise RuntimeError(text)

    with pytest.raises(torch.OutOfMemoryError, match=r"64 images needs about 2\.0 GB"):
        fails("torch: CUDA out of memory. Tried to allocate", 2 * 10**9)
    with pytest.raises(torch.OutOfMemoryError):
        fails("torch could not run aten::convolution; ...", 2 * 10**9)
    for text, needed in (("torch could not run aten::relu", 10**8), ("other", 2 * 10**9)):
        with pytest.raises(RuntimeError, match=text):
            fails(text, needed)


def test_data_that_are_too_large_are_streamed(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def holds(self: Device, size: int) -> bool:
        sizes.append(size)
        return False

    device = gpu()
    monkeypatch.setattr(type(device), "holds", holds)
    trainer = proprelu.Trainer(_model(), device=device, progress=False)
    assert len(trainer.fit(_data(), epochs=1, batch_size=4)) == 1
    assert sizes == [12 * 25]
