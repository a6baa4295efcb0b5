"""Train convolutional networks with a chosen ratio of convolutions to ReLUs."""

import torch  # noqa: F401  the extension needs torch's libraries loaded

from proprelu import _core, models, nn
from proprelu._core import Ratio
from proprelu.convert import Plan, convert, plan_for, ratio_of

__version__: str = _core.__version__

__all__ = ["Plan", "Ratio", "convert", "models", "nn", "plan_for", "ratio_of"]
