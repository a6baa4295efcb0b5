"""Converts models: to a ratio of convolutions to ReLUs, and to other stems, heads and blocks."""

from proprelu._core import Ratio
from proprelu.convert.anneal import Anneal, anneal_step
from proprelu.convert.conv_stem import conv_stem
from proprelu.convert.convert import convert, revert
from proprelu.convert.count import Count, ratio_of
from proprelu.convert.covariance_head import covariance_head
from proprelu.convert.decompose import decompose
from proprelu.convert.factorize import factorize
from proprelu.convert.int8 import int8
from proprelu.convert.learn import learn_placement
from proprelu.convert.plan import Plan, PlannedLayer, PlannedSite
from proprelu.convert.plan_for import plan_for
from proprelu.convert.ranking import Ranking
from proprelu.convert.remove_layers import remove_layers
from proprelu.convert.sensitivity import sensitivity
from proprelu.convert.tie_blocks import tie_blocks

__all__ = [
    "Anneal",
    "Count",
    "Plan",
    "PlannedLayer",
    "PlannedSite",
    "Ranking",
    "Ratio",
    "anneal_step",
    "conv_stem",
    "convert",
    "covariance_head",
    "decompose",
    "factorize",
    "int8",
    "learn_placement",
    "plan_for",
    "ratio_of",
    "remove_layers",
    "revert",
    "sensitivity",
    "tie_blocks",
]
