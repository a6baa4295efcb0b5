"""Training: data, and what is done to it on the way into a network; what a run measured."""

from proprelu.train.augment import Augment
from proprelu.train.data import as_dataset
from proprelu.train.history import History
from proprelu.train.loggers import Logger, TensorBoard
from proprelu.train.plot import plot_histories
from proprelu.train.progress import ProgressBar
from proprelu.train.torch_batches import TorchBatches

__all__ = [
    "Augment",
    "History",
    "Logger",
    "ProgressBar",
    "TensorBoard",
    "TorchBatches",
    "as_dataset",
    "plot_histories",
]
