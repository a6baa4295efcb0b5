"""Training: the `Trainer`, its data, settings and loggers, and what a run measured."""

from proprelu.train.augment import Augment
from proprelu.train.data import as_dataset
from proprelu.train.distill import Distill
from proprelu.train.history import History
from proprelu.train.loggers import Logger, TensorBoard
from proprelu.train.losses import CrossEntropy
from proprelu.train.optimizers import SGD, AdamW
from proprelu.train.plot import plot_histories
from proprelu.train.progress import ProgressBar
from proprelu.train.schedules import Constant, Cosine, OneCycle, Step
from proprelu.train.torch_batches import TorchBatches
from proprelu.train.trainer import Trainer
from proprelu.train.weights import load_weights, save_weights

__all__ = [
    "SGD",
    "AdamW",
    "Augment",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "Distill",
    "History",
    "Logger",
    "OneCycle",
    "ProgressBar",
    "Step",
    "TensorBoard",
    "TorchBatches",
    "Trainer",
    "as_dataset",
    "load_weights",
    "plot_histories",
    "save_weights",
]
