"""Files of weights, which record how the model was converted."""

from proprelu.weights.files import load, load_weights, save_merged, save_weights

__all__ = ["load", "load_weights", "save_merged", "save_weights"]
