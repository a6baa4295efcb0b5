"""Convolutions with products of 8-bit integers, and the scales of their operands."""

from proprelu.functional.int8.conv import int8_conv2d
from proprelu.functional.int8.settings import Int8

__all__ = ["Int8", "int8_conv2d"]
