"""The operations that the package's layers and losses use."""

from proprelu.functional.covariance import covariance_pool
from proprelu.functional.cross_entropy import cross_entropy
from proprelu.functional.int8 import Int8, int8_conv2d
from proprelu.functional.squeeze_excite import channel_means, scale_channels
from proprelu.functional.tied import tied_conv2d

__all__ = [
    "Int8",
    "channel_means",
    "covariance_pool",
    "cross_entropy",
    "int8_conv2d",
    "scale_channels",
    "tied_conv2d",
]
