"""What a training does: optimizers, schedules, losses, distillation, annealing, kernels."""

from proprelu.train.recipe.distill import Distill
from proprelu.train.recipe.losses import CrossEntropy
from proprelu.train.recipe.optimizers import SGD, AdamW
from proprelu.train.recipe.schedules import Constant, Cosine, OneCycle, Step

__all__ = ["SGD", "AdamW", "Constant", "Cosine", "CrossEntropy", "Distill", "OneCycle", "Step"]
