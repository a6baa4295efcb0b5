"""Train convolutional networks with a chosen ratio of convolutions to ReLUs."""

import torch  # noqa: F401  the extension needs torch's libraries loaded

from proprelu import _core, datasets
from proprelu.train import Augment, as_dataset

__version__: str = _core.__version__

__all__ = ["Augment", "__version__", "as_dataset", "datasets"]
from proprelu import _core
from proprelu._core import Ratio
from proprelu.convert import Plan, convert, plan_for, ratio_of

__version__: str = _core.__version__

__all__ = ["Plan", "Ratio", "convert", "plan_for", "ratio_of"]
