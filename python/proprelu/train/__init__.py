"""Training: data, and what is done to it on the way into a network."""

from proprelu.train.augment import Augment
from proprelu.train.data import as_dataset
from proprelu.train.torch_batches import TorchBatches

__all__ = ["Augment", "TorchBatches", "as_dataset"]
