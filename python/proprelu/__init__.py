"""Train convolutional networks with a chosen ratio of convolutions to ReLUs."""

# Loads torch, whose libraries the extension needs, and refuses one that it is not built for.
from proprelu import _torch_version as _torch_version

# isort: split
from proprelu import _core as _core
from proprelu import datasets
from proprelu import _core, models, nn
from proprelu._core import Ratio
from proprelu.convert import Plan, convert, plan_for, ratio_of
from proprelu.train import Augment, History, as_dataset

__version__: str = _core.__version__

__all__ = [
    "Augment",
    "History",
    "Plan",
    "Ratio",
    "__version__",
    "as_dataset",
    "convert",
    "datasets",
    "plan_for",
    "ratio_of",
]
__all__ = ["Plan", "Ratio", "convert", "models", "nn", "plan_for", "ratio_of"]
