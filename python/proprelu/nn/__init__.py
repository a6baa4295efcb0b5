"""Layers."""

from proprelu.nn.proportional_block import ProportionalBlock
from proprelu.nn.relus import Dropped, relus

__all__ = ["Dropped", "ProportionalBlock", "relus"]
