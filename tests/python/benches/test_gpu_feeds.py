"""The batches of PyTorch's trainings on a GPU, tested on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from test_gpu_benches import part


def test_both_ways_to_augment_agree():
    augment = part("systems.augment")
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    drawn = augment.draws((5,), 2, "cpu")
    scale, shift = augment.scale_and_shift([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    on_device = augment.augmented(torch.from_numpy(pixels), drawn, scale, shift, pad=2)
    in_worker = augment.augmented_in_worker(pixels, scale, shift, 2, drawn)
    assert on_device.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(on_device.permute(0, 2, 3, 1), in_worker.bfloat16())


def test_without_draws_images_are_only_normalized():
    augment = part("systems.augment")
    pixels = torch.arange(2 * 4 * 4, dtype=torch.uint8).view(2, 4, 4, 1)
    drawn = augment.no_draws(2, 3, "cpu")
    images = augment.augmented(pixels, drawn, *augment.scale_and_shift([0.5], [0.25]), pad=3)
    expected = (pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    assert torch.allclose(images.float(), expected, atol=1e-2)


def test_an_order_goes_on_over_epochs_in_full_batches():
    order = part("systems.loader").Order(images=10, batch=4)
    order.batches = 5
    batches = list(order)
    assert [len(batch) for batch in batches] == [4] * 5
    for first, second in (batches[:2], batches[2:4]):
        assert len({*first, *second}) == 8


def test_resident_batches_go_on_over_epochs():
    pixels = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    normalization = ([0.5], [0.5])
    make = part("systems.resident").Resident
    feed = make(pixels, np.arange(10), 4, 1, normalization, "cpu")
    batches = list(feed.batches(3))
    assert len(feed) == 2
    assert len(batches) == 3
    for images, labels, drawn, *_ in batches:
        assert images.flatten().tolist() == labels.tolist()
        assert drawn.shape == (3, 4)
