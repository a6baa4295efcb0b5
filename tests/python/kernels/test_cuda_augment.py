"""Batches of the CUDA kernel equal those of the loader exactly."""

import ctypes

import numpy as np
import proprelu
import pytest
import torch
from cuda_kernels import Kernels
from proprelu._core import Dataset, Loader
from torch import Tensor


class Augment(ctypes.Structure):
    _fields_ = [("pad", ctypes.c_int), ("flip", ctypes.c_int), ("cutout", ctypes.c_int)]


SOURCE = "augment"
IGNORED = -100
IMAGES = 23
SEED = (7 << 32) + 5


def _data(channels: int, height: int, width: int, dtype: type) -> tuple[Tensor, Dataset]:
    """Images labeled by their index, so that labels show the order."""
    random = np.random.default_rng(channels)
    images = random.integers(0, 256, (IMAGES, height, width, channels)).astype(dtype)
    labels = np.arange(IMAGES)
    make = Dataset.from_u8 if dtype is np.uint8 else Dataset.from_f32
    return torch.tensor(images), make(images, labels)


@pytest.mark.parametrize("size", [(1, 5, 7), (3, 8, 8), (4, 3, 9)], ids=str)
@pytest.mark.parametrize("source", [np.uint8, np.float32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "settings", [{}, {"pad": 2}, {"flip": True}, {"pad": 1, "flip": True, "cutout": 3}], ids=str
)
def test_as_the_loader(
    kernels: Kernels,
    size: tuple[int, int, int],
    source: type,
    dtype: torch.dtype,
    settings: dict[str, int],
) -> None:
    channels, height, width = size
    images, dataset = _data(*size, source)
    mean, std = torch.rand(channels), torch.rand(channels) + 0.5
    augment = proprelu.Augment(**settings, mean=mean.tolist(), std=std.tolist())
    batch, epoch = 5, 3
    loader = Loader(dataset, batch, shuffle=True, seed=SEED, augment=augment.to_dict())
    batches = list(loader.epoch(epoch))
    order = torch.tensor(np.concatenate([labels for _, labels in batches]))
    cursor = torch.tensor([epoch, 0, 1, 0])
    numbers = Augment(*(int(settings.get(name, 0)) for name in ("pad", "flip", "cutout")))
    names = {np.uint8: "u8", np.float32: "float", torch.float32: "float", torch.bfloat16: "bf16"}
    unit = 255.0 if source is np.uint8 else 1.0
    for expected, labels in batches:
        out = torch.full((batch, height, width, channels), torch.nan, dtype=dtype)
        out_labels = torch.full((batch,), -1)
        blocks = -(-batch * height * width // kernels.threads)
        kernels.launch(
            f"augment_{names[source]}_{names[dtype]}",
            *(
                (blocks,),
                (kernels.threads,),
                images,
                torch.arange(IMAGES),
                order,
                cursor,
                SEED,
            ),
            *(batch, IMAGES, height, width, channels, unit, mean, std, numbers, out, out_labels),
        )
        missing = batch - len(labels)
        filling = np.repeat(batches[0][0][:1], missing, 0)
        assert torch.equal(out, torch.tensor(np.concatenate([expected, filling])).to(dtype))
        assert out_labels.tolist() == [*labels, *[IGNORED] * missing]
        kernels.launch("advance_cursor", (1,), (32,), cursor)
    assert missing == 2
    assert cursor.tolist() == [epoch, len(batches), 1 + len(batches), 0]


def test_a_failed_training_goes_no_further(kernels: Kernels) -> None:
    cursor = torch.tensor([3, 1, 5, 4])
    kernels.launch("advance_cursor", (1,), (32,), cursor)
    assert cursor.tolist() == [3, 1, 5, 4]
