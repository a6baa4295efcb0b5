"""Data: images and labels of any usual kind become batches for the training loop."""

from proprelu.data.as_dataset import as_dataset
from proprelu.data.augment import Augment
from proprelu.data.torch_batches import TorchBatches

__all__ = ["Augment", "TorchBatches", "as_dataset"]
