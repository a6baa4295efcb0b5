"""Layers and blocks."""

from proprelu.functional import Int8
from proprelu.nn.bordered_conv import BorderedConv2d
from proprelu.nn.bordered_sequential import BorderedSequential
from proprelu.nn.conv_stem import ConvStem, EarlyConvStem
from proprelu.nn.covariance_pool import CovariancePool2d
from proprelu.nn.decomposed_conv import DecomposedConv2d, DeepReLUConv2d, deep_relu_form
from proprelu.nn.framed_conv import FramedConv2d
from proprelu.nn.int8_conv import Int8Conv2d
from proprelu.nn.proportional_block import ProportionalBlock
from proprelu.nn.relus import Dropped, relus
from proprelu.nn.removed import RemovedBranch, RemovedLayer
from proprelu.nn.tied_block_conv import TiedBlockConv2d
from proprelu.nn.tied_linear import TiedLinear
from proprelu.nn.tied_squeeze_excite import TiedSqueezeExcite

__all__ = [
    "BorderedConv2d",
    "BorderedSequential",
    "ConvStem",
    "CovariancePool2d",
    "DecomposedConv2d",
    "DeepReLUConv2d",
    "Dropped",
    "EarlyConvStem",
    "FramedConv2d",
    "Int8",
    "Int8Conv2d",
    "ProportionalBlock",
    "RemovedBranch",
    "RemovedLayer",
    "TiedBlockConv2d",
    "TiedLinear",
    "TiedSqueezeExcite",
    "deep_relu_form",
    "relus",
]
