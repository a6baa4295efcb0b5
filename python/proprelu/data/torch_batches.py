"""Batches of any torch ``Dataset`` or ``DataLoader``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data import Dataset as TorchDataset

from proprelu.data.batch import checked_batch
from proprelu.data.seeds import epoch_seed


class TorchBatches:
    """Batches of images (n, c, ...), float32, and labels, checked.

    A ``DataLoader`` is iterated as it is. For a ``Dataset`` a loader is created; its order depends
    only on the seed and the epoch. Float images keep their shape; uint8 images are scaled to 0..1
    and moved to NCHW. Labels are a tensor, or a tuple or dict of tensors: integers become int64
    and floats float32. Iterating runs the epochs 0, 1, 2, ... in turn; ``epoch`` runs a certain
    one. The dataset's random transforms are not seeded here: they use torch's global generator.

    Args:
        data: a torch ``Dataset`` or ``DataLoader`` of (image, label).
        batch_size: images in a batch; this and the arguments below are ignored for a
            ``DataLoader``.
        shuffle: a new order every epoch.
        drop_last: leave out the last batch if it is not full.
        seed: determines the orders.
        num_classes: integer labels (n,) must be below it, or -100; None for no such check.

    Raises:
        ValueError: empty data; and while iterating: images of several sizes or not finite, labels
            out of range or of another number, anything but pairs of images and labels.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> data = TensorDataset(torch.zeros(10, 3, 8, 8), torch.arange(10))
        >>> batches = TorchBatches(data, batch_size=4)
        >>> [tuple(images.shape) for images, labels in batches]
        [(4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 8, 8)]
    """

    def __init__(
        self,
        data: TorchDataset[Any] | DataLoader[Any],
        batch_size: int = 128,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        num_classes: int | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.seed = seed
        self._next_epoch = 0
        # Only a loader created here is seeded; the generator of the user's loader is not touched.
        self._generator: torch.Generator | None = None
        if isinstance(data, DataLoader):
            self.loader = data
            return
        streamed = isinstance(data, IterableDataset)
        if not streamed:
            count = len(data)  # type: ignore[arg-type]
            if count == 0:
                raise ValueError("a dataset needs at least one image, got none")
            batch_size = min(batch_size, count)
        self._generator = torch.Generator()
        self.loader = DataLoader(
            data,
            batch_size,
            shuffle=None if streamed else shuffle,
            # A stream has the same order in each epoch, so that the same images would be left out.
            drop_last=drop_last and not streamed,
            generator=self._generator,
        )

    @property
    def ordered_by_epoch(self) -> bool:
        """Whether the order depends on the number of the epoch."""
        return self._generator is not None or hasattr(self.loader.sampler, "set_epoch")

    def __len__(self) -> int:
        """Batches in an epoch.

        Raises:
            TypeError: the data have no length.
        """
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Any]]:
        epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        return self.epoch(epoch)

    def epoch(self, epoch: int) -> Iterator[tuple[torch.Tensor, Any]]:
        """The batches of one epoch, counted from 0."""
        self._seed_epoch(epoch)
        number = -1
        for number, batch in enumerate(self._raw_batches()):  # noqa: B007
            yield checked_batch(batch, self.num_classes)
        if number < 0:
            raise ValueError("the data gave no batch; is it empty, or smaller than one batch?")

    def _seed_epoch(self, epoch: int) -> None:
        if self._generator is not None:
            self._generator.manual_seed(epoch_seed(self.seed, epoch))
        set_epoch = getattr(self.loader.sampler, "set_epoch", None)
        if set_epoch is not None:  # a DistributedSampler shuffles by the epoch
            set_epoch(epoch)

    def _raw_batches(self) -> Iterator[Any]:
        try:
            yield from self.loader
        except (RuntimeError, TypeError) as error:
            explained = _explained(str(error))
            if explained is None:
                raise
            raise ValueError(explained) from error


def _explained(message: str) -> str | None:
    """What to do about an error of torch's collation; ``None`` for any other error."""
    _, sized, sizes = message.partition("stack expects each tensor to be equal size, but ")
    if sized:
        got = sizes.splitlines()[0]
        return f"images must be of one size, {got}; resize them in the dataset's transform"
    if "Batches of sparse tensors are not" in message:
        return "images must be dense tensors, got sparse ones; call to_dense() in the dataset"
    _, found, kind = message.partition("lists; found <class '")
    if found and "default_collate" in message:
        got = kind.partition("'")[0]
        return (
            f"images and labels must be tensors, arrays or numbers, got {got}; "
            "convert them in the dataset's transform, for example with torchvision's ToTensor()"
        )
    return None
