"""Merges linear operations of a network, for inference."""

from proprelu.merge.hoist import hoist_padding
from proprelu.merge.merge import merge, merge_as
from proprelu.merge.removals import Removal, find_removals
from proprelu.merge.report import MergedRun, MergeReport
from proprelu.merge.stretches import Stretch, Stretches, find_stretches
from proprelu.merge.verify import Comparison, Error, verify

__all__ = [
    "Comparison",
    "Error",
    "MergeReport",
    "MergedRun",
    "Removal",
    "Stretch",
    "Stretches",
    "find_removals",
    "find_stretches",
    "hoist_padding",
    "merge",
    "merge_as",
    "verify",
]
