"""Train convolutional networks with a chosen ratio of convolutions to ReLUs."""

# Loads torch, whose libraries the extension needs, and refuses one that it is not built for.
from proprelu import _torch_version as _torch_version

# isort: split
from proprelu import _core as _core
from proprelu import datasets, models, nn
from proprelu._core import Ratio
from proprelu.convert import Plan, convert, plan_for, ratio_of
from proprelu.train import (
    SGD,
    AdamW,
    Augment,
    Constant,
    Cosine,
    CrossEntropy,
    History,
    OneCycle,
    Step,
    Trainer,
    as_dataset,
    load_weights,
    save_weights,
)

__version__: str = _core.__version__

__all__ = [
    "SGD",
    "AdamW",
    "Augment",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "History",
    "OneCycle",
    "Plan",
    "Ratio",
    "Step",
    "Trainer",
    "__version__",
    "as_dataset",
    "convert",
    "datasets",
    "load_weights",
    "models",
    "nn",
    "plan_for",
    "ratio_of",
    "save_weights",
]
