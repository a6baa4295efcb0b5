"""Converting a model to a ratio."""

from proprelu._core import Ratio
from proprelu.convert.convert import convert
from proprelu.convert.count import Count, ratio_of
from proprelu.convert.plan import Plan, PlannedSite, plan_for

__all__ = ["Count", "Plan", "PlannedSite", "Ratio", "convert", "plan_for", "ratio_of"]
