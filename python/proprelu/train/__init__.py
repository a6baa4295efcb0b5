"""Training: the ``Trainer``, its settings and loggers, and what a run measured."""

from proprelu.data import Augment, TorchBatches, as_dataset
from proprelu.train.recipe import (
    SGD,
    AdamW,
    Constant,
    Cosine,
    CrossEntropy,
    Distill,
    OneCycle,
    Step,
)
from proprelu.train.report import (
    History,
    Logger,
    Profile,
    ProgressBar,
    TensorBoard,
    plot_histories,
)
from proprelu.train.trainer import Trainer
from proprelu.weights import load_weights, save_weights

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
    "Profile",
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
