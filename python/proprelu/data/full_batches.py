"""The full batches of a torch loader, because a program is captured for one shape."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from proprelu.data.torch_batches import TorchBatches


class FullBatches:
    """Passes on the batches that are as large as the first; skips a smaller last one.

    Attributes:
        shape: (N, C, H, W), the shape of the images of a batch.
    """

    def __init__(self, batches: TorchBatches) -> None:
        self._batches = batches
        images, _ = next(batches.epoch(0))
        self.shape = tuple(images.shape)

    def __len__(self) -> int:
        """The full batches of an epoch, as far as the length of the sampler is known."""
        batches, loader = len(self._batches), self._batches.loader
        if loader.batch_size is None or loader.drop_last:
            return batches
        try:
            images = len(loader.sampler)  # type: ignore[arg-type]
        except TypeError:
            return batches
        return min(batches, max(images // self.shape[0], 1))

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The full batches of one epoch, counted from 0."""
        for images, labels in self._batches.epoch(epoch):
            if len(images) == self.shape[0]:
                yield images, labels
