"""Train convolutional networks with a chosen ratio of convolutions to ReLUs."""

import torch  # noqa: F401  the extension needs torch's libraries loaded

from proprelu import _core, datasets
from proprelu.train import Augment, as_dataset

__version__: str = _core.__version__

__all__ = ["Augment", "__version__", "as_dataset", "datasets"]
