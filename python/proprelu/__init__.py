"""Train convolutional networks with a chosen ratio of convolutions to ReLUs."""

# Loads torch, and the extension, which is linked to its libraries.
from proprelu import _start as _start

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
from proprelu.merge import MergeReport, merge
from proprelu.shrink import Shrunk, shrink
from proprelu.sweep import SweepResults, sweep
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
)
from proprelu.weights import load, load_weights, save_merged, save_weights

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
    "MergeReport",
    "OneCycle",
    "Plan",
    "Ranking",
    "Ratio",
    "Shrunk",
    "Step",
    "SweepResults",
    "Trainer",
    "__version__",
    "anneal_step",
    "as_dataset",
    "convert",
    "datasets",
    "learn_placement",
    "load",
    "load_weights",
    "merge",
    "models",
    "nn",
    "plan_for",
    "ratio_of",
    "revert",
    "save_merged",
    "save_weights",
    "sensitivity",
    "shrink",
    "sweep",
]
