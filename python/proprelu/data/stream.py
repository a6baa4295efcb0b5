"""The batches of a loader, with the shape that most of them have."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from proprelu.data.normalization import Normalization
from proprelu.data.tensor_data import TensorBatches
from proprelu.data.torch_batches import TorchBatches
from proprelu.warned import warn

__all__ = ["Stream"]

Batch = tuple[Tensor, Any]

# Batches that are looked at where the sizes of the batches are not known.
_LOOKS = 4


class Stream:
    """Images and a list of label tensors, batch by batch.

    A program is captured for one shape, that of ``example``: of the first batch, or, if that is not
    of the size that the loader promises, of most among the first batches. Nothing is read
    twice: the batches that were looked at begin the first epoch.

    Args:
        batches: the batches of an epoch.
        normalize: applied to the images, if given.
        steps: the batches of an epoch; by default all. An epoch is cut after them.

    Attributes:
        example: the images and labels of a batch of the usual shape.
    """

    def __init__(
        self,
        batches: TorchBatches | TensorBatches,
        normalize: Normalization | None = None,
        steps: int | None = None,
    ) -> None:
        self._batches = batches
        self._normalize: Callable[[Tensor], Tensor] = normalize or (lambda images: images)
        self._steps = steps
        self._length: int | None = None
        self._counted = 0
        self._checked = False
        epoch = self._read(0)
        looks = [next(epoch)]
        if len(looks[0][0]) != _promised(batches):
            looks += itertools.islice(epoch, _LOOKS - 1)
        self._looked = len(looks)
        self.example = _usual(looks)
        # An iterator of workers that persist is the loader's only one, and restarts with the next.
        reusable = not getattr(getattr(batches, "loader", None), "persistent_workers", False)
        self._begun = itertools.chain(looks, epoch) if reusable else None

    def __len__(self) -> int:
        """The batches of an epoch. If nothing else says how many there are, they are counted."""
        if self._steps is not None:
            return self._steps
        if self._length is None:
            try:
                self._length = len(self._batches)
            except TypeError:
                self._length = self._counted = sum(1 for _ in self._batches.epoch(0))
        return self._length

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """The batches of one epoch, counted from 0."""
        begun, self._begun = self._begun, None
        begins = begun is not None and (epoch == 0 or not self._batches.ordered_by_epoch)
        batches = begun if begun is not None and begins else self._read(epoch)
        number = 0
        for images, labels in itertools.islice(batches, self._steps):
            yield images, tree_leaves(labels)
            number += 1
        if begins and self._counted and number <= self._looked < self._counted:
            raise ValueError(
                f"the data gave {self._counted} batches when they were counted and {number} after "
                "that; give fit steps_per_epoch= for data that can be read only once"
            )
        self._compare(number)

    def _compare(self, number: int) -> None:
        """Warn once of an epoch with more or fewer batches than the schedule was made for."""
        planned = self._steps if self._steps is not None else self._length
        if self._checked or planned is None or planned == number:
            return
        self._checked = True
        says = "the length of the data" if self._steps is None else "steps_per_epoch"
        warn(
            f"an epoch has {number} batches, but {says} says {planned}, for which the learning "
            f"rates were planned; give fit steps_per_epoch={number}, or correct the length"
        )

    def _read(self, epoch: int) -> Iterator[Batch]:
        for images, labels in self._batches.epoch(epoch):
            yield self._normalize(images), labels


class FullStream(Stream):
    """Only the batches of the usual shape; one warning says how many images are left out."""

    _warned = False

    def __len__(self) -> int:
        """The full batches of an epoch, as far as the length of the sampler is known."""
        batches = super().__len__()
        loader = getattr(self._batches, "loader", None)
        if loader is None or loader.batch_size is None or loader.drop_last:
            return batches
        try:
            images = len(loader.sampler)
        except TypeError:
            return batches
        return min(batches, max(images // len(self.example[0]), 1))

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
        kept = left = 0
        for images, labels in super().epoch(epoch):
            if images.shape == self.example[0].shape:
                kept += len(images)
                yield images, labels
            else:
                left += len(images)
        if left and not self._warned:
            self._warned = True
            warn(
                f"{left} of {kept + left} images of an epoch are left out, because on a GPU a "
                f"training uses only batches of one shape, {tuple(self.example[0].shape)}"
            )


def _usual(batches: list[Batch]) -> Batch:
    """The batch of the shape that occurs most; of several such the one with the most images."""
    counts = Counter(images.shape for images, _ in batches)
    return max(batches, key=lambda batch: (counts[batch[0].shape], len(batch[0])))


def _promised(batches: TorchBatches | TensorBatches) -> int | None:
    """The size of most batches, if the loader states it."""
    if isinstance(batches, TensorBatches):
        return batches.batch_size
    return batches.loader.batch_size
