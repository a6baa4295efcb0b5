"""Train convolutional networks with a chosen ratio of convolutions to ReLUs."""

# Checks the version of torch, and loads its libraries, which the extension links to.
from proprelu import _torch_version as _torch_version

# isort: split
from proprelu import _core as _core
from proprelu import datasets, models, nn
from proprelu._core import Ratio
from proprelu.convert import (
    Anneal,
    Plan,
    Ranking,
    anneal_step,
    convert,
    learn_placement,
    plan_for,
    ratio_of,
    revert,
    sensitivity,
)
from proprelu.data import Augment, as_dataset
from proprelu.train import (
    SGD,
    AdamW,
    Constant,
    Cosine,
    CrossEntropy,
    Distill,
    History,
    OneCycle,
    Step,
    Trainer,
    load_weights,
    save_weights,
)

__version__: str = _core.__version__

__all__ = [
    "SGD",
    "AdamW",
    "Anneal",
    "Augment",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "Distill",
    "History",
    "OneCycle",
    "Plan",
    "Ranking",
    "Ratio",
    "Step",
    "Trainer",
    "__version__",
    "anneal_step",
    "as_dataset",
    "convert",
    "datasets",
    "learn_placement",
    "load_weights",
    "models",
    "nn",
    "plan_for",
    "ratio_of",
    "revert",
    "save_weights",
    "sensitivity",
]
