"""Operations that layers and losses are made of."""

from proprelu.functional.cross_entropy import cross_entropy
from proprelu.functional.tied_conv2d import tied_conv2d

__all__ = ["cross_entropy", "tied_conv2d"]
